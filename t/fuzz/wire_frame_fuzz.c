/* SPDX-License-Identifier: Apache-2.0 */
// links: server/wire_frame.c
/*
 * wire_frame_fuzz.c: no bytes whatever make a decoder read beyond them, and what a decoder takes,
 * the encoder takes, and gives the same struct back.
 *
 * The first byte of an input chooses the decoder, the rest is its frame.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/wire_frame.h"

#define FIELD_ROOM 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the fuzzer, which keeps the input. */
static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void require_text(wire_text_t one, wire_text_t other)
{
    require(strlen(one.data) == one.len);
    require(one.len == other.len && strcmp(one.data, other.data) == 0);
}

static void require_fields(const wire_field_t *one, const wire_field_t *other, apr_uint32_t count)
{
    apr_uint32_t i;

    for (i = 0; i < count; i++) {
        require_text(one[i].name, other[i].name);
        require_text(one[i].value, other[i].value);
    }
}

static void require_head(const wire_head_t *one, const wire_head_t *other)
{
    int i;

    require(one->mount == other->mount);
    require(one->request_time == other->request_time && one->deadline == other->deadline);
    require(one->content_length == other->content_length);
    require(one->server_port == other->server_port && one->remote_port == other->remote_port);
    require(one->field_count == other->field_count && one->var_count == other->var_count);
    for (i = 0; i < WIRE_TEXT_COUNT; i++) {
        require_text(one->text[i], other->text[i]);
    }
    require_fields(one->fields, other->fields, one->field_count);
    require_fields(one->vars, other->vars, one->var_count);
}

static void fuzz_head(const char *bytes, size_t size)
{
    wire_field_t fields[FIELD_ROOM], again_fields[FIELD_ROOM];
    wire_head_t head, again;
    apr_size_t used, written;
    apr_status_t rv;
    char *out;

    rv = wire_head_decode(bytes, size, fields, FIELD_ROOM, &head, &used);
    if (rv != APR_SUCCESS) {
        return;
    }
    /* A name spelled out although it has an id comes back shorter, never longer. */
    require(used <= size && wire_head_size(&head) <= used);
    out = malloc(wire_head_size(&head));
    require(wire_head_encode(&head, out, wire_head_size(&head), &written) == APR_SUCCESS);
    require(written == wire_head_size(&head));
    rv = wire_head_decode(out, written, again_fields, FIELD_ROOM, &again, &used);
    require(rv == APR_SUCCESS && used == written);
    require_head(&head, &again);
    free(out);
}

static void fuzz_response(const char *bytes, size_t size)
{
    wire_field_t fields[FIELD_ROOM], again_fields[FIELD_ROOM];
    wire_response_t response, again;
    apr_size_t used, written;
    apr_status_t rv;
    char *out;

    rv = wire_response_decode(bytes, size, fields, FIELD_ROOM, &response, &used);
    if (rv != APR_SUCCESS) {
        return;
    }
    require(used <= size && wire_response_size(&response) <= used);
    out = malloc(wire_response_size(&response));
    rv = wire_response_encode(&response, out, wire_response_size(&response), &written);
    require(rv == APR_SUCCESS && written == wire_response_size(&response));
    rv = wire_response_decode(out, written, again_fields, FIELD_ROOM, &again, &used);
    require(rv == APR_SUCCESS && used == written);
    require(response.status == again.status);
    require(response.content_length == again.content_length);
    require(response.field_count == again.field_count);
    require_text(response.reason, again.reason);
    require_fields(response.fields, again.fields, response.field_count);
    free(out);
}

static void fuzz_header(const char *bytes, size_t size)
{
    wire_header_t header;
    char out[WIRE_HEADER_SIZE];

    if (wire_header_decode(bytes, size, &header) == APR_SUCCESS) {
        wire_header_encode(&header, out);
        require(memcmp(out, bytes, sizeof(out)) == 0);
    }
}

static void fuzz_file(const char *bytes, size_t size)
{
    wire_file_t file;
    char out[WIRE_FILE_SIZE];

    if (wire_file_decode(bytes, size, &file) == APR_SUCCESS) {
        require(file.offset >= 0 && file.offset + file.length >= file.offset);
        wire_file_encode(&file, out);
        require(memcmp(out, bytes, sizeof(out)) == 0);
    }
}

static void fuzz_window(const char *bytes, size_t size)
{
    apr_uint32_t credit;
    char out[WIRE_WINDOW_SIZE];

    if (wire_window_decode(bytes, size, &credit) == APR_SUCCESS) {
        require(credit >= 1 && credit <= WIRE_WINDOW_MAX);
        wire_window_encode(credit, out);
        require(memcmp(out, bytes, sizeof(out)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const decoders[])(const char *, size_t) = { fuzz_header, fuzz_head, fuzz_response,
                                                              fuzz_file, fuzz_window };
    char *bytes;

    if (size == 0) {
        return 0;
    }
    /* An allocation of exactly the frame's size, so that a read beyond it is seen. */
    bytes = malloc(size - 1 ? size - 1 : 1);
    memcpy(bytes, data + 1, size - 1);
    decoders[data[0] % (sizeof(decoders) / sizeof(decoders[0]))](bytes, size - 1);
    free(bytes);
    return 0;
}
