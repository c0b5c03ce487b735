/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire_frame.c: bytes <-> structs for the frames between httpd children and daemon workers.
 *
 * Called in the children, the manager and the daemons, from any thread; needs no GIL, allocates
 * nothing, keeps no state.  It is run twice per request on each side.
 *
 * Layout, in the byte order of the machine, without padding:
 *   text      u32 length, bytes, NUL
 *   field     u8 id of the name (0: a text follows that is the name), then the value as a text
 *   head      u64 mount, i64 request_time, i64 deadline, i64 content_length, u16 server_port,
 *             u16 remote_port, u32 field_count, u32 var_count, WIRE_TEXT_COUNT texts, the fields,
 *             the vars
 *   response  u16 status, i64 content_length, u32 field_count, the reason as a text, the fields
 *
 * Invariants of the two cursors below:
 * 1. at <= end, always.
 * 2. Once failed is set it stays, and nothing is read or written any more; a reader then yields
 *    zeros and empty texts, so that a decoder needs to look at it only before it uses a count,
 *    and at its end.
 */
#include "server/wire_frame.h"

#include <string.h>

_Static_assert(sizeof(apr_size_t) >= 8, "sums of sizes below rely on 64 bits");

#define HEAD_FIXED_SIZE     (4u * 8u + 2u * 2u + 2u * 4u)
#define RESPONSE_FIXED_SIZE (2u + 8u + 4u)
#define TEXT_OVERHEAD       5u /* length and NUL */

typedef struct wire_reader_t {
    const char *at;
    const char *end;
    int failed;
} wire_reader_t;

typedef struct wire_writer_t {
    char *at;
    char *end;
    apr_status_t failed;
} wire_writer_t;

/*
 * Names that travel as one byte: what browsers, proxies and applications send most, spelled as they
 * mostly spell it (another spelling travels in-line, and arrives as it was).  Sorted by length; an
 * id is the place in this table, and 0 stands for none of them.
 */
#define NAME(text)             \
    {                          \
        text, sizeof(text) - 1 \
    }
/* clang-format off */
static const wire_text_t interned[] = {
    {"", 0},
    NAME("TE"),
    NAME("Age"), NAME("DNT"), NAME("Via"),
    NAME("Date"), NAME("ETag"), NAME("From"), NAME("Host"), NAME("Link"), NAME("Vary"),
    NAME("Allow"), NAME("Range"), NAME("HTTPS"),
    NAME("Accept"), NAME("Cookie"), NAME("Expect"), NAME("Origin"), NAME("Pragma"),
    NAME("Server"),
    NAME("Expires"), NAME("Referer"), NAME("Upgrade"),
    NAME("If-Match"), NAME("If-Range"), NAME("Location"), NAME("Priority"),
    NAME("sec-ch-ua"), NAME("Forwarded"), NAME("X-Real-IP"),
    NAME("Connection"), NAME("Keep-Alive"), NAME("Set-Cookie"), NAME("User-Agent"),
    NAME("Retry-After"),
    NAME("Content-Type"), NAME("X-Request-ID"),
    NAME("Accept-Ranges"), NAME("Authorization"), NAME("Cache-Control"), NAME("Content-Range"),
    NAME("If-None-Match"), NAME("Last-Modified"),
    NAME("Accept-Charset"), NAME("Content-Length"), NAME("Sec-Fetch-Dest"),
    NAME("Sec-Fetch-Mode"), NAME("Sec-Fetch-Site"), NAME("Sec-Fetch-User"),
    NAME("Accept-Encoding"), NAME("Accept-Language"), NAME("X-Forwarded-For"),
    NAME("X-Frame-Options"),
    NAME("Content-Encoding"), NAME("Content-Language"), NAME("sec-ch-ua-mobile"),
    NAME("WWW-Authenticate"), NAME("X-Forwarded-Host"), NAME("X-Requested-With"),
    NAME("If-Modified-Since"), NAME("Transfer-Encoding"), NAME("X-Forwarded-Proto"),
    NAME("sec-ch-ua-platform"),
    NAME("Content-Disposition"), NAME("If-Unmodified-Since"),
    NAME("X-Content-Type-Options"),
    NAME("Content-Security-Policy"),
    NAME("Strict-Transport-Security"), NAME("Upgrade-Insecure-Requests"),
};
/* clang-format on */
#undef NAME

/*
 * The names of n bytes are interned[first_of_length[n]] to interned[first_of_length[n + 1]],
 * exclusive; wire_frame_test.c checks that this finds every one.
 */
#define INTERNED_LENGTH_MAX 25u
static const apr_byte_t first_of_length[INTERNED_LENGTH_MAX + 2] = {
    1,  1,  1,  2,  5,  11, 14, 20, 23, 27, 30, 34, 35, 37,
    43, 49, 53, 59, 62, 63, 65, 65, 65, 66, 67, 67, 69,
};
#define INTERNED_COUNT (sizeof(interned) / sizeof(interned[0]))

/* The flags that each type may carry; a type that is not here does not exist. */
#define TYPE_KNOWN 0x80u
static const apr_byte_t flags_of_type[] = {
    [WIRE_TICKET] = TYPE_KNOWN | WIRE_MORE | WIRE_FINAL | WIRE_HAS_BODY | WIRE_ON_DEMAND,
    [WIRE_HEAD] = TYPE_KNOWN | WIRE_MORE,
    [WIRE_BODY] = TYPE_KNOWN | WIRE_FINAL,
    [WIRE_BODY_END] = TYPE_KNOWN | WIRE_ABORTED,
    [WIRE_CANCEL] = TYPE_KNOWN,
    [WIRE_RESPONSE] = TYPE_KNOWN | WIRE_MORE | WIRE_FINAL,
    [WIRE_DATA] = TYPE_KNOWN | WIRE_FINAL,
    [WIRE_FILE] = TYPE_KNOWN | WIRE_FINAL,
    [WIRE_END] = TYPE_KNOWN | WIRE_ABORTED | WIRE_FINAL,
    [WIRE_WINDOW] = TYPE_KNOWN,
};

/* ---- Reading ---- */

static inline const char *reader_take(wire_reader_t *reader, apr_size_t size)
{
    const char *at = reader->at;

    if (reader->failed || size > (apr_size_t)(reader->end - at)) {
        reader->failed = 1;
        return NULL;
    }
    reader->at = at + size;
    return at;
}

static inline void reader_number(wire_reader_t *reader, void *number, apr_size_t size)
{
    const char *at = reader_take(reader, size);

    if (at) {
        memcpy(number, at, size);
    } else {
        memset(number, 0, size);
    }
}

static inline wire_text_t reader_text(wire_reader_t *reader)
{
    wire_text_t text = { "", 0 };
    apr_uint32_t len;
    const char *at;

    reader_number(reader, &len, sizeof(len));
    at = reader_take(reader, (apr_size_t)len + 1);
    if (!at) {
        return text;
    }
    if (memchr(at, 0, (apr_size_t)len + 1) != at + len) {
        reader->failed = 1;
        return text;
    }
    text.data = at;
    text.len = len;
    return text;
}

static inline void reader_fields(wire_reader_t *reader, wire_field_t *fields, apr_uint32_t count)
{
    apr_uint32_t i;

    for (i = 0; i < count && !reader->failed; i++) {
        apr_byte_t id;

        reader_number(reader, &id, sizeof(id));
        if (id == 0) {
            fields[i].name = reader_text(reader);
        } else if (id < INTERNED_COUNT) {
            fields[i].name = interned[id];
        } else {
            reader->failed = 1;
            return;
        }
        fields[i].value = reader_text(reader);
    }
}

/* What every decoder ends with. */
static apr_status_t reader_close(const wire_reader_t *reader, const char *begin, apr_size_t *used)
{
    apr_size_t size = (apr_size_t)(reader->at - begin);

    if (reader->failed || size > WIRE_HEAD_MAX) {
        *used = 0;
        return APR_EINVAL;
    }
    *used = size;
    return APR_SUCCESS;
}

/* ---- Writing ---- */

static inline char *writer_take(wire_writer_t *writer, apr_size_t size)
{
    char *at = writer->at;

    if (writer->failed != APR_SUCCESS) {
        return NULL;
    }
    if (size > (apr_size_t)(writer->end - at)) {
        writer->failed = APR_ENOSPC;
        return NULL;
    }
    writer->at = at + size;
    return at;
}

static inline void writer_number(wire_writer_t *writer, const void *number, apr_size_t size)
{
    char *at = writer_take(writer, size);

    if (at) {
        memcpy(at, number, size);
    }
}

static inline void writer_text(wire_writer_t *writer, const wire_text_t *text)
{
    char *at;

    if (text->len > WIRE_HEAD_MAX || (text->len && memchr(text->data, 0, text->len))) {
        writer->failed = APR_EINVAL;
        return;
    }
    at = writer_take(writer, (apr_size_t)text->len + TEXT_OVERHEAD);
    if (!at) {
        return;
    }
    memcpy(at, &text->len, sizeof(text->len));
    at += sizeof(text->len);
    if (text->len) {
        memcpy(at, text->data, text->len);
    }
    at[text->len] = '\0';
}

static inline apr_byte_t name_intern(const wire_text_t *name)
{
    apr_byte_t id, end;

    if (name->len == 0 || name->len > INTERNED_LENGTH_MAX) {
        return 0;
    }
    end = first_of_length[name->len + 1];
    for (id = first_of_length[name->len]; id < end; id++) {
        if (memcmp(interned[id].data, name->data, name->len) == 0) {
            return id;
        }
    }
    return 0;
}

static inline void writer_fields(wire_writer_t *writer, const wire_field_t *fields,
                                 apr_uint32_t count)
{
    apr_uint32_t i;

    for (i = 0; i < count && writer->failed == APR_SUCCESS; i++) {
        apr_byte_t id = name_intern(&fields[i].name);

        writer_number(writer, &id, sizeof(id));
        if (id == 0) {
            writer_text(writer, &fields[i].name);
        }
        writer_text(writer, &fields[i].value);
    }
}

static wire_writer_t writer_open(char *out, apr_size_t room)
{
    wire_writer_t writer = { out, out, APR_SUCCESS };

    writer.end += room < WIRE_HEAD_MAX ? room : WIRE_HEAD_MAX;
    return writer;
}

static apr_status_t writer_close(const wire_writer_t *writer, const char *begin,
                                 apr_size_t *written)
{
    *written = writer->failed == APR_SUCCESS ? (apr_size_t)(writer->at - begin) : 0;
    return writer->failed;
}

static apr_size_t fields_size(const wire_field_t *fields, apr_uint32_t count)
{
    apr_size_t size = 0;
    apr_uint32_t i;

    for (i = 0; i < count; i++) {
        size += 1 + (name_intern(&fields[i].name) ? 0 : fields[i].name.len + TEXT_OVERHEAD) +
                fields[i].value.len + TEXT_OVERHEAD;
    }
    return size;
}

/* ---- The header of a frame ---- */

void wire_header_encode(const wire_header_t *header, char *out)
{
    out[0] = (char)header->type;
    out[1] = (char)header->flags;
    memcpy(out + 2, &header->channel, sizeof(header->channel));
    memcpy(out + 4, &header->req, sizeof(header->req));
}

apr_status_t wire_header_decode(const char *frame, apr_size_t size, wire_header_t *header)
{
    memset(header, 0, sizeof(*header));
    if (size < WIRE_HEADER_SIZE) {
        return APR_EINVAL;
    }
    header->type = (apr_byte_t)frame[0];
    header->flags = (apr_byte_t)frame[1];
    memcpy(&header->channel, frame + 2, sizeof(header->channel));
    memcpy(&header->req, frame + 4, sizeof(header->req));
    if (header->type >= sizeof(flags_of_type) || !flags_of_type[header->type]) {
        return APR_EINVAL;
    }
    if (header->flags & (TYPE_KNOWN | ~flags_of_type[header->type])) {
        return APR_EINVAL;
    }
    return APR_SUCCESS;
}

/* ---- Request heads ---- */

apr_size_t wire_head_size(const wire_head_t *head)
{
    apr_size_t size = HEAD_FIXED_SIZE;
    int i;

    for (i = 0; i < WIRE_TEXT_COUNT; i++) {
        size += (apr_size_t)head->text[i].len + TEXT_OVERHEAD;
    }
    return size + fields_size(head->fields, head->field_count) +
           fields_size(head->vars, head->var_count);
}

apr_status_t wire_head_encode(const wire_head_t *head, char *out, apr_size_t room,
                              apr_size_t *written)
{
    wire_writer_t writer = writer_open(out, room);
    int i;

    *written = 0;
    if (head->field_count > WIRE_FIELDS_MAX || head->var_count > WIRE_FIELDS_MAX ||
        head->content_length < -1) {
        return APR_EINVAL;
    }
    writer_number(&writer, &head->mount, sizeof(head->mount));
    writer_number(&writer, &head->request_time, sizeof(head->request_time));
    writer_number(&writer, &head->deadline, sizeof(head->deadline));
    writer_number(&writer, &head->content_length, sizeof(head->content_length));
    writer_number(&writer, &head->server_port, sizeof(head->server_port));
    writer_number(&writer, &head->remote_port, sizeof(head->remote_port));
    writer_number(&writer, &head->field_count, sizeof(head->field_count));
    writer_number(&writer, &head->var_count, sizeof(head->var_count));
    for (i = 0; i < WIRE_TEXT_COUNT; i++) {
        writer_text(&writer, &head->text[i]);
    }
    writer_fields(&writer, head->fields, head->field_count);
    writer_fields(&writer, head->vars, head->var_count);
    return writer_close(&writer, out, written);
}

static apr_status_t head_check(const wire_reader_t *reader, const wire_head_t *head)
{
    if (reader->failed || head->field_count > WIRE_FIELDS_MAX ||
        head->var_count > WIRE_FIELDS_MAX || head->content_length < -1) {
        return APR_EINVAL;
    }
    return APR_SUCCESS;
}

apr_status_t wire_head_decode(const char *bytes, apr_size_t size, wire_field_t *fields,
                              apr_uint32_t room, wire_head_t *head, apr_size_t *used)
{
    wire_reader_t reader = { bytes, bytes + size, 0 };
    int i;

    *used = 0;
    reader_number(&reader, &head->mount, sizeof(head->mount));
    reader_number(&reader, &head->request_time, sizeof(head->request_time));
    reader_number(&reader, &head->deadline, sizeof(head->deadline));
    reader_number(&reader, &head->content_length, sizeof(head->content_length));
    reader_number(&reader, &head->server_port, sizeof(head->server_port));
    reader_number(&reader, &head->remote_port, sizeof(head->remote_port));
    reader_number(&reader, &head->field_count, sizeof(head->field_count));
    reader_number(&reader, &head->var_count, sizeof(head->var_count));
    for (i = 0; i < WIRE_TEXT_COUNT; i++) {
        head->text[i] = reader_text(&reader);
    }
    head->fields = fields;
    head->vars = NULL;
    if (head_check(&reader, head) != APR_SUCCESS) {
        return APR_EINVAL;
    }
    if (head->field_count + head->var_count > room) {
        *used = head->field_count + head->var_count;
        return APR_ENOSPC;
    }
    head->vars = fields + head->field_count;
    reader_fields(&reader, head->fields, head->field_count);
    reader_fields(&reader, head->vars, head->var_count);
    return reader_close(&reader, bytes, used);
}

/* ---- Response heads ---- */

apr_size_t wire_response_size(const wire_response_t *response)
{
    return RESPONSE_FIXED_SIZE + (apr_size_t)response->reason.len + TEXT_OVERHEAD +
           fields_size(response->fields, response->field_count);
}

static int response_valid(const wire_response_t *response)
{
    return response->status >= 100 && response->status <= 999 && response->content_length >= -1 &&
           response->field_count <= WIRE_FIELDS_MAX;
}

apr_status_t wire_response_encode(const wire_response_t *response, char *out, apr_size_t room,
                                  apr_size_t *written)
{
    wire_writer_t writer = writer_open(out, room);

    *written = 0;
    if (!response_valid(response)) {
        return APR_EINVAL;
    }
    writer_number(&writer, &response->status, sizeof(response->status));
    writer_number(&writer, &response->content_length, sizeof(response->content_length));
    writer_number(&writer, &response->field_count, sizeof(response->field_count));
    writer_text(&writer, &response->reason);
    writer_fields(&writer, response->fields, response->field_count);
    return writer_close(&writer, out, written);
}

apr_status_t wire_response_decode(const char *bytes, apr_size_t size, wire_field_t *fields,
                                  apr_uint32_t room, wire_response_t *response, apr_size_t *used)
{
    wire_reader_t reader = { bytes, bytes + size, 0 };

    *used = 0;
    reader_number(&reader, &response->status, sizeof(response->status));
    reader_number(&reader, &response->content_length, sizeof(response->content_length));
    reader_number(&reader, &response->field_count, sizeof(response->field_count));
    response->reason = reader_text(&reader);
    response->fields = fields;
    if (reader.failed || !response_valid(response)) {
        return APR_EINVAL;
    }
    if (response->field_count > room) {
        *used = response->field_count;
        return APR_ENOSPC;
    }
    reader_fields(&reader, fields, response->field_count);
    return reader_close(&reader, bytes, used);
}

/* ---- Files and windows ---- */

void wire_file_encode(const wire_file_t *file, char *out)
{
    memcpy(out, &file->offset, sizeof(file->offset));
    memcpy(out + sizeof(file->offset), &file->length, sizeof(file->length));
}

/* A sum past the largest offset could not be sent, and would wrap in whoever adds them. */
apr_status_t wire_file_decode(const char *bytes, apr_size_t size, wire_file_t *file)
{
    memset(file, 0, sizeof(*file));
    if (size != WIRE_FILE_SIZE) {
        return APR_EINVAL;
    }
    memcpy(&file->offset, bytes, sizeof(file->offset));
    memcpy(&file->length, bytes + sizeof(file->offset), sizeof(file->length));
    if (file->offset < 0 || file->length < 0 || file->length > APR_INT64_MAX - file->offset) {
        return APR_EINVAL;
    }
    return APR_SUCCESS;
}

void wire_window_encode(apr_uint32_t credit, char *out)
{
    memcpy(out, &credit, sizeof(credit));
}

apr_status_t wire_window_decode(const char *bytes, apr_size_t size, apr_uint32_t *credit)
{
    *credit = 0;
    if (size != WIRE_WINDOW_SIZE) {
        return APR_EINVAL;
    }
    memcpy(credit, bytes, sizeof(*credit));
    if (*credit == 0 || *credit > WIRE_WINDOW_MAX) {
        return APR_EINVAL;
    }
    return APR_SUCCESS;
}
