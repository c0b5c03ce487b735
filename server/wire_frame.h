/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire_frame.h: the frames that an httpd child and a daemon worker exchange: bytes <-> structs.
 *
 * A frame is one SEQPACKET message of at most WIRE_FRAME_MAX bytes.  Every frame starts with the
 * same eight bytes: type (u8), flags (u8), channel (u16), req (u32), in the byte order of the
 * machine (both ends are forks of one process).  This file owns the codec: no sockets, no httpd, no
 * Python, no allocation.  Decoded texts are borrowed from the frame's bytes and end in a NUL inside
 * them, so a caller may use them as C strings for as long as it keeps the buffer.
 *
 * Safe from any thread; keeps no state.  Every decoder refuses what it cannot prove whole.
 */
#ifndef SERVER_WIRE_FRAME_H
#define SERVER_WIRE_FRAME_H

#include <apr.h>
#include <apr_errno.h>

/* One SEQPACKET message; well under the default socket buffer of 208 KiB. */
#define WIRE_FRAME_MAX   65536u
#define WIRE_HEADER_SIZE 8u
/* A request's head over several frames: httpd's default of 100 lines of 8,190 bytes, rounded up. */
#define WIRE_HEAD_MAX (1024u * 1024u)
/* Headers of one head, and vars.  LimitRequestFields is 100 by default; this is the codec's own. */
#define WIRE_BODY_WINDOW \
    65536 /* body bytes on their way before a worker asks for more: one frame's */
#define WIRE_RESPONSE_FIELDS_MAX                                    \
    512 /* response headers: what a child has room for on its stack \
         */
#define WIRE_FIELDS_MAX 16384u

typedef enum {
    WIRE_TICKET = 1,   /* child -> queue: a request's head, or its first piece (WIRE_MORE) */
    WIRE_HEAD = 2,     /* child -> channel: the next piece of a head (WIRE_MORE: not the last) */
    WIRE_BODY = 3,     /* child -> channel: body bytes */
    WIRE_BODY_END = 4, /* child -> channel: the body is complete (WIRE_ABORTED: it is not) */
    WIRE_CANCEL = 5,   /* child or manager -> channel: nobody waits for this request any more */
    WIRE_RESPONSE = 6, /* worker -> channel: response head, first bytes of the body in-line */
    WIRE_DATA = 7,     /* worker -> channel: response bytes */
    WIRE_FILE = 8,     /* worker -> channel: a descriptor by SCM_RIGHTS, offset and length */
    WIRE_END = 9,      /* worker, manager -> channel: the response is whole (WIRE_ABORTED: not) */
    WIRE_WINDOW = 10   /* worker -> channel: so many more body bytes may be sent */
} wire_type_e;

#define WIRE_MORE    0x01u /* TICKET, HEAD, RESPONSE: the head goes on in the next frame */
#define WIRE_ABORTED 0x02u /* BODY_END, END: ended before it was complete */
/* TICKET, BODY: the body ends with this frame; RESPONSE, DATA, FILE: so does the response; END with
 * WIRE_ABORTED: the worker says so itself (else its manager does, once it is dead). */
#define WIRE_FINAL    0x04u
#define WIRE_HAS_BODY 0x08u /* TICKET: a body follows on the channel (or in-line and further) */
#define WIRE_ON_DEMAND                                                         \
    0x10u /* TICKET: the body is sent once a WINDOW asks for it (100-continue) \
           */

typedef struct wire_text_t {
    const char *data; /* borrowed; data[len] is NUL */
    apr_uint32_t len;
} wire_text_t;

typedef struct wire_field_t {
    wire_text_t name;
    wire_text_t value;
} wire_field_t;

/* The eight bytes at the start of every frame. */
typedef struct wire_header_t {
    apr_byte_t type;
    apr_byte_t flags;
    apr_uint16_t channel;
    apr_uint32_t req;
} wire_header_t;

/* Places in wire_head_t.text. */
typedef enum {
    WIRE_TEXT_METHOD,
    WIRE_TEXT_URI,          /* decoded path, as httpd normalised it */
    WIRE_TEXT_UNPARSED_URI, /* request target as received */
    WIRE_TEXT_ARGS,         /* query string, empty when there is none */
    WIRE_TEXT_PROTOCOL,     /* HTTP/1.1 */
    WIRE_TEXT_SCHEME,       /* http or https */
    WIRE_TEXT_SERVER_NAME,
    WIRE_TEXT_REMOTE_ADDR,
    WIRE_TEXT_LOCAL_ADDR,
    WIRE_TEXT_REMOTE_USER, /* empty when nobody authenticated */
    WIRE_TEXT_AUTH_TYPE,
    WIRE_TEXT_REQUEST_ID, /* httpd's log id, made on demand */
    WIRE_TEXT_COUNT
} wire_text_e;

/* A request's head.  fields points to the caller's array of field_room entries. */
typedef struct wire_head_t {
    apr_uint64_t mount;         /* id of the mount point, the same in every generation */
    apr_int64_t request_time;   /* us since the epoch, when httpd read the request line */
    apr_int64_t deadline;       /* us, CLOCK_MONOTONIC: worthless to start after that */
    apr_int64_t content_length; /* bytes; -1 unknown (chunked), 0 no body */
    apr_uint16_t server_port;
    apr_uint16_t remote_port;
    wire_text_t text[WIRE_TEXT_COUNT];
    wire_field_t *fields; /* request headers, in the order received */
    apr_uint32_t field_count;
    wire_field_t *vars; /* subprocess_env: SetEnv, SSL variables, ... */
    apr_uint32_t var_count;
} wire_head_t;

/* A response's head, before the in-line body. */
typedef struct wire_response_t {
    apr_uint16_t status;        /* 100..999 */
    wire_text_t reason;         /* may be empty */
    apr_int64_t content_length; /* -1 when the application did not say */
    wire_field_t *fields;
    apr_uint32_t field_count;
} wire_response_t;

typedef struct wire_file_t {
    apr_int64_t offset; /* >= 0 */
    apr_int64_t length; /* >= 0 */
} wire_file_t;

/* Writes the eight bytes; out has room for WIRE_HEADER_SIZE. */
void wire_header_encode(const wire_header_t *header, char *out);

/* APR_EINVAL: shorter than eight bytes, an unknown type, or flags that the type does not have. */
apr_status_t wire_header_decode(const char *frame, apr_size_t size, wire_header_t *header);

/* Bytes that wire_head_encode() will write (without the frame header). */
apr_size_t wire_head_size(const wire_head_t *head);

/*
 * Encodes a head (without the frame header) into out, which has room for `room` bytes.
 * APR_ENOSPC: does not fit.  APR_EINVAL: a text over its bound or with a NUL in it.
 */
apr_status_t wire_head_encode(const wire_head_t *head, char *out, apr_size_t room,
                              apr_size_t *written);

/*
 * Decodes a whole head.  room: capacity of the array `fields`, which the headers and then the vars
 * share.  *used: bytes of the head, after which an in-line body begins.
 * APR_EINVAL: cut, over a bound, or inconsistent.  APR_ENOSPC: more fields than room (*used is then
 * the room needed).
 */
apr_status_t wire_head_decode(const char *bytes, apr_size_t size, wire_field_t *fields,
                              apr_uint32_t room, wire_head_t *head, apr_size_t *used);

apr_size_t wire_response_size(const wire_response_t *response);
apr_status_t wire_response_encode(const wire_response_t *response, char *out, apr_size_t room,
                                  apr_size_t *written);
apr_status_t wire_response_decode(const char *bytes, apr_size_t size, wire_field_t *fields,
                                  apr_uint32_t room, wire_response_t *response, apr_size_t *used);

/* out has room for WIRE_FILE_SIZE bytes. */
#define WIRE_FILE_SIZE 16u
void wire_file_encode(const wire_file_t *file, char *out);
apr_status_t wire_file_decode(const char *bytes, apr_size_t size, wire_file_t *file);

/* out has room for WIRE_WINDOW_SIZE bytes.  credit: 1..WIRE_WINDOW_MAX bytes. */
#define WIRE_WINDOW_SIZE 4u
#define WIRE_WINDOW_MAX  (16u * 1024u * 1024u)
void wire_window_encode(apr_uint32_t credit, char *out);
apr_status_t wire_window_decode(const char *bytes, apr_size_t size, apr_uint32_t *credit);

#endif
