/* SPDX-License-Identifier: Apache-2.0 */
// links: server/wire_frame.c
/*
 * wire_frame_test.c: heads of requests and responses survive the way there and back; cut, oversized
 * or twisted ones are refused.
 *
 * Whatever is decoded here lies in an allocation of exactly its size, so that AddressSanitizer sees
 * a read beyond it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/wire_frame.h"

#define FIELD_ROOM 16

/* Where the numbers of a head lie, as wire_frame.c documents it. */
#define HEAD_CONTENT_LENGTH 24
#define HEAD_FIELD_COUNT    36
#define HEAD_VAR_COUNT      40
#define HEAD_TEXTS          44
#define RESPONSE_COUNT      10
#define RESPONSE_REASON     14

static wire_text_t text(const char *data)
{
    wire_text_t made = { data, (apr_uint32_t)strlen(data) };

    return made;
}

static wire_field_t field(const char *name, const char *value)
{
    wire_field_t made = { text(name), text(value) };

    return made;
}

/* fields: room for eight; vars: room for two. */
static wire_head_t sample_head(wire_field_t *fields, wire_field_t *vars)
{
    wire_head_t head = { .mount = APR_UINT64_C(0xfedcba9876543210),
                         .request_time = APR_INT64_C(1700000000000001),
                         .deadline = APR_INT64_C(123456789012),
                         .content_length = -1,
                         .server_port = 443,
                         .remote_port = 65535 };

    head.text[WIRE_TEXT_METHOD] = text("POST");
    head.text[WIRE_TEXT_URI] = text("/wiki/caf\xc3\xa9");
    head.text[WIRE_TEXT_UNPARSED_URI] = text("/wiki/caf%C3%A9?x=1");
    head.text[WIRE_TEXT_ARGS] = text("x=1");
    head.text[WIRE_TEXT_PROTOCOL] = text("HTTP/1.1");
    head.text[WIRE_TEXT_SCHEME] = text("https");
    head.text[WIRE_TEXT_SERVER_NAME] = text("www.example.com");
    head.text[WIRE_TEXT_REMOTE_ADDR] = text("192.0.2.1");
    head.text[WIRE_TEXT_LOCAL_ADDR] = text("::1");
    head.text[WIRE_TEXT_REMOTE_USER] = text("");
    head.text[WIRE_TEXT_AUTH_TYPE] = text("");
    head.text[WIRE_TEXT_REQUEST_ID] = text("Zx-1");
    fields[0] = field("Host", "www.example.com");
    fields[1] = field("host", "spelled in another way");
    fields[2] = field("Cookie", "");
    fields[3] = field("X-Own-Name", "value");
    fields[4] = field("Strict-Transport-Security", "the longest interned name");
    fields[5] = field("Strict-Transport-Security2", "longer than any");
    fields[6] = field("Accept", "*/*");
    fields[7] = field("Accept", "the same name again");
    vars[0] = field("HTTPS", "on");
    vars[1] = field("SSL_PROTOCOL", "TLSv1.3");
    head.fields = fields;
    head.field_count = 8;
    head.vars = vars;
    head.var_count = 2;
    return head;
}

static wire_response_t sample_response(wire_field_t *fields)
{
    wire_response_t response = { .status = 200, .content_length = 5, .field_count = 3 };

    response.reason = text("OK");
    fields[0] = field("Content-Type", "text/plain");
    fields[1] = field("Set-Cookie", "a=1");
    fields[2] = field("X-Own-Name", "");
    response.fields = fields;
    return response;
}

/* An encoded head or response in an allocation of its size; the caller frees it. */
static char *encoded_head(const wire_head_t *head, apr_size_t *size)
{
    char *bytes;

    *size = wire_head_size(head);
    bytes = malloc(*size);
    assert_int_equal(wire_head_encode(head, bytes, *size, size), APR_SUCCESS);
    return bytes;
}

static char *encoded_response(const wire_response_t *response, apr_size_t *size)
{
    char *bytes;

    *size = wire_response_size(response);
    bytes = malloc(*size);
    assert_int_equal(wire_response_encode(response, bytes, *size, size), APR_SUCCESS);
    return bytes;
}

static char *copy(const char *bytes, apr_size_t size)
{
    return memcpy(malloc(size ? size : 1), bytes, size);
}

static void assert_text(wire_text_t text_found, wire_text_t text_expected)
{
    assert_int_equal(text_found.len, text_expected.len);
    assert_memory_equal(text_found.data, text_expected.data, text_expected.len);
    assert_int_equal(text_found.data[text_found.len], 0);
}

static void assert_fields(const wire_field_t *found, const wire_field_t *expected,
                          apr_uint32_t count)
{
    apr_uint32_t i;

    for (i = 0; i < count; i++) {
        assert_text(found[i].name, expected[i].name);
        assert_text(found[i].value, expected[i].value);
    }
}

/* Reads every byte that a decoder has handed out, for AddressSanitizer and for the NULs. */
static void assert_readable(wire_text_t found)
{
    assert_int_equal(strlen(found.data), found.len);
}

static void assert_fields_readable(const wire_field_t *fields, apr_uint32_t count)
{
    apr_uint32_t i;

    for (i = 0; i < count; i++) {
        assert_readable(fields[i].name);
        assert_readable(fields[i].value);
    }
}

static apr_status_t decode_head(const char *bytes, apr_size_t size, apr_uint32_t room)
{
    wire_field_t *fields = calloc(room ? room : 1, sizeof(*fields));
    wire_head_t head;
    apr_size_t used;
    apr_status_t rv;
    int i;

    rv = wire_head_decode(bytes, size, fields, room, &head, &used);
    if (rv == APR_SUCCESS) {
        assert_true(used <= size);
        for (i = 0; i < WIRE_TEXT_COUNT; i++) {
            assert_readable(head.text[i]);
        }
        assert_fields_readable(head.fields, head.field_count);
        assert_fields_readable(head.vars, head.var_count);
    }
    free(fields);
    return rv;
}

static apr_status_t decode_response(const char *bytes, apr_size_t size, apr_uint32_t room)
{
    wire_field_t *fields = calloc(room ? room : 1, sizeof(*fields));
    wire_response_t response;
    apr_size_t used;
    apr_status_t rv;

    rv = wire_response_decode(bytes, size, fields, room, &response, &used);
    if (rv == APR_SUCCESS) {
        assert_true(used <= size);
        assert_readable(response.reason);
        assert_fields_readable(response.fields, response.field_count);
    }
    free(fields);
    return rv;
}

typedef apr_status_t (*decode_fn)(const char *bytes, apr_size_t size, apr_uint32_t room);

static void assert_every_cut_is_refused(decode_fn decode, const char *bytes, apr_size_t size)
{
    apr_size_t cut;

    for (cut = 0; cut < size; cut++) {
        char *piece = copy(bytes, cut);

        assert_int_equal(decode(piece, cut, FIELD_ROOM), APR_EINVAL);
        free(piece);
    }
    assert_int_equal(decode(bytes, size, FIELD_ROOM), APR_SUCCESS);
}

/* Whatever one byte becomes, the decoder says something, and what it hands out can be read. */
static void assert_every_byte_may_change(decode_fn decode, const char *bytes, apr_size_t size)
{
    static const unsigned char twists[] = { 0x01, 0x7f, 0x80, 0xff };
    char *twisted = copy(bytes, size);
    apr_size_t at, i;

    for (at = 0; at < size; at++) {
        for (i = 0; i < sizeof(twists); i++) {
            apr_status_t rv;

            twisted[at] = (char)(bytes[at] ^ twists[i]);
            rv = decode(twisted, size, FIELD_ROOM);
            assert_true(rv == APR_SUCCESS || rv == APR_EINVAL || rv == APR_ENOSPC);
        }
        twisted[at] = bytes[at];
    }
    free(twisted);
}

static void put_u32(char *at, apr_uint32_t number)
{
    memcpy(at, &number, sizeof(number));
}

static void put_i64(char *at, apr_int64_t number)
{
    memcpy(at, &number, sizeof(number));
}

/* ---- Request heads ---- */

static void test_head_comes_back_as_it_went(void **state)
{
    wire_field_t fields[8], vars[2], room[FIELD_ROOM];
    wire_head_t head = sample_head(fields, vars);
    wire_head_t found;
    apr_size_t size, used;
    char *bytes = encoded_head(&head, &size);
    int i;

    (void)state;
    assert_int_equal(size, wire_head_size(&head));
    assert_int_equal(wire_head_decode(bytes, size, room, FIELD_ROOM, &found, &used), APR_SUCCESS);
    assert_int_equal(used, size);
    assert_true(found.mount == head.mount);
    assert_true(found.request_time == head.request_time);
    assert_true(found.deadline == head.deadline);
    assert_true(found.content_length == head.content_length);
    assert_int_equal(found.server_port, head.server_port);
    assert_int_equal(found.remote_port, head.remote_port);
    for (i = 0; i < WIRE_TEXT_COUNT; i++) {
        assert_text(found.text[i], head.text[i]);
    }
    assert_int_equal(found.field_count, 8);
    assert_fields(found.fields, head.fields, 8);
    assert_int_equal(found.var_count, 2);
    assert_fields(found.vars, head.vars, 2);
    free(bytes);
}

static void test_head_without_fields_and_texts_needs_no_room(void **state)
{
    wire_head_t head = { .content_length = 0 };
    wire_head_t found;
    apr_size_t size, used;
    char *bytes = encoded_head(&head, &size);

    (void)state;
    assert_int_equal(wire_head_decode(bytes, size, NULL, 0, &found, &used), APR_SUCCESS);
    assert_int_equal(found.field_count + found.var_count, 0);
    assert_string_equal(found.text[WIRE_TEXT_URI].data, "");
    free(bytes);
}

static void test_head_tells_where_the_body_behind_it_begins(void **state)
{
    wire_field_t fields[8], vars[2], room[FIELD_ROOM];
    wire_head_t head = sample_head(fields, vars);
    wire_head_t found;
    apr_size_t size = wire_head_size(&head), used;
    char *frame = malloc(size + 4);

    (void)state;
    assert_int_equal(wire_head_encode(&head, frame, size, &used), APR_SUCCESS);
    memcpy(frame + size, "body", 4);
    assert_int_equal(wire_head_decode(frame, size + 4, room, FIELD_ROOM, &found, &used),
                     APR_SUCCESS);
    assert_int_equal(used, size);
    free(frame);
}

static void test_head_is_refused_when_cut_at_any_byte(void **state)
{
    wire_field_t fields[8], vars[2];
    wire_head_t head = sample_head(fields, vars);
    apr_size_t size;
    char *bytes = encoded_head(&head, &size);

    (void)state;
    assert_every_cut_is_refused(decode_head, bytes, size);
    free(bytes);
}

static void test_head_with_any_byte_changed_is_never_read_beyond(void **state)
{
    wire_field_t fields[8], vars[2];
    wire_head_t head = sample_head(fields, vars);
    apr_size_t size;
    char *bytes = encoded_head(&head, &size);

    (void)state;
    assert_every_byte_may_change(decode_head, bytes, size);
    free(bytes);
}

static void test_head_says_how_much_room_its_fields_need(void **state)
{
    wire_field_t fields[8], vars[2], *room;
    wire_head_t head = sample_head(fields, vars);
    wire_head_t found;
    apr_size_t size, used;
    char *bytes = encoded_head(&head, &size);
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < 10; i++) {
        room = malloc(i * sizeof(*room) + 1);
        assert_int_equal(wire_head_decode(bytes, size, room, i, &found, &used), APR_ENOSPC);
        assert_int_equal(used, 10);
        free(room);
    }
    free(bytes);
}

static void test_head_is_not_written_beyond_the_room(void **state)
{
    wire_field_t fields[8], vars[2];
    wire_head_t head = sample_head(fields, vars);
    apr_size_t size = wire_head_size(&head);
    apr_size_t room, written;

    (void)state;
    for (room = 0; room < size; room++) {
        char *out = malloc(room ? room : 1);

        assert_int_equal(wire_head_encode(&head, out, room, &written), APR_ENOSPC);
        assert_int_equal(written, 0);
        free(out);
    }
}

static void test_head_refuses_numbers_over_their_bounds(void **state)
{
    static const struct {
        apr_size_t at;
        apr_uint32_t number;
    } cases[] = { { HEAD_FIELD_COUNT, WIRE_FIELDS_MAX + 1 },
                  { HEAD_FIELD_COUNT, 0xffffffffu },
                  { HEAD_VAR_COUNT, WIRE_FIELDS_MAX + 1 },
                  { HEAD_VAR_COUNT, 0xffffffffu },
                  { HEAD_TEXTS, 0xffffffffu },
                  { HEAD_TEXTS, 0x7fffffffu } };
    wire_field_t fields[8], vars[2];
    wire_head_t head = sample_head(fields, vars);
    apr_size_t size, i;
    char *bytes = encoded_head(&head, &size);

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *twisted = copy(bytes, size);

        put_u32(twisted + cases[i].at, cases[i].number);
        assert_int_equal(decode_head(twisted, size, FIELD_ROOM), APR_EINVAL);
        free(twisted);
    }
    put_i64(bytes + HEAD_CONTENT_LENGTH, -2);
    assert_int_equal(decode_head(bytes, size, FIELD_ROOM), APR_EINVAL);
    free(bytes);
}

static void test_head_encode_refuses_what_no_decoder_would_take(void **state)
{
    wire_field_t fields[8], vars[2];
    wire_head_t good = sample_head(fields, vars);
    wire_head_t head;
    char out[4096];
    apr_size_t written;

    (void)state;
    head = good;
    head.content_length = -2;
    assert_int_equal(wire_head_encode(&head, out, sizeof(out), &written), APR_EINVAL);
    head = good;
    head.field_count = WIRE_FIELDS_MAX + 1;
    assert_int_equal(wire_head_encode(&head, out, sizeof(out), &written), APR_EINVAL);
    head = good;
    head.var_count = WIRE_FIELDS_MAX + 1;
    assert_int_equal(wire_head_encode(&head, out, sizeof(out), &written), APR_EINVAL);
    head = good;
    head.text[WIRE_TEXT_URI].len = WIRE_HEAD_MAX + 1;
    assert_int_equal(wire_head_encode(&head, out, sizeof(out), &written), APR_EINVAL);
    head = good;
    head.text[WIRE_TEXT_URI].data = "/a\0b";
    head.text[WIRE_TEXT_URI].len = 4;
    assert_int_equal(wire_head_encode(&head, out, sizeof(out), &written), APR_EINVAL);
    assert_int_equal(written, 0);
}

static void test_field_with_a_nul_is_refused_in_name_and_value(void **state)
{
    wire_text_t nul = { "a\0b", 3 };
    wire_field_t in_name[] = { { nul, text("value") } };
    wire_field_t in_value[] = { { text("Host"), nul } };
    wire_response_t response = { .status = 200, .content_length = -1, .field_count = 1 };
    char out[256];
    apr_size_t written;

    (void)state;
    response.fields = in_name;
    assert_int_equal(wire_response_encode(&response, out, sizeof(out), &written), APR_EINVAL);
    response.fields = in_value;
    assert_int_equal(wire_response_encode(&response, out, sizeof(out), &written), APR_EINVAL);
}

static void test_head_of_the_largest_size_passes_and_one_byte_more_does_not(void **state)
{
    wire_head_t head = { .content_length = 0 };
    apr_size_t size, written, rest = WIRE_HEAD_MAX - wire_head_size(&head);
    char *value = malloc(rest + 1);
    char *bytes;

    (void)state;
    memset(value, 'x', rest + 1);
    head.text[WIRE_TEXT_ARGS].data = value;
    head.text[WIRE_TEXT_ARGS].len = (apr_uint32_t)rest;
    bytes = encoded_head(&head, &size);
    assert_int_equal(size, WIRE_HEAD_MAX);
    assert_int_equal(decode_head(bytes, size, 0), APR_SUCCESS);
    free(bytes);
    head.text[WIRE_TEXT_ARGS].len++;
    bytes = malloc(WIRE_HEAD_MAX + 1);
    assert_int_equal(wire_head_encode(&head, bytes, WIRE_HEAD_MAX + 1, &written), APR_ENOSPC);
    free(bytes);
    free(value);
}

static void test_head_over_the_largest_size_is_refused_when_decoded(void **state)
{
    wire_head_t head = { .content_length = 0 };
    apr_size_t size, rest = WIRE_HEAD_MAX + 1 - wire_head_size(&head);
    char *bytes = encoded_head(&head, &size);
    char *large = malloc(WIRE_HEAD_MAX + 1);

    (void)state;
    memcpy(large, bytes, HEAD_TEXTS);
    put_u32(large + HEAD_TEXTS, (apr_uint32_t)rest);
    memset(large + HEAD_TEXTS + 4, 'x', rest);
    memcpy(large + HEAD_TEXTS + 4 + rest, bytes + HEAD_TEXTS + 4, size - HEAD_TEXTS - 4);
    assert_int_equal(decode_head(large, WIRE_HEAD_MAX + 1, 0), APR_EINVAL);
    free(large);
    free(bytes);
}

/* ---- Interned names ---- */

/* A response with one field whose name is an id alone; NULL from decoding: no such id. */
static apr_status_t name_of_id(int id, char *name, apr_size_t room)
{
    wire_field_t fields[1] = { field("x", "v") };
    wire_response_t response = { .status = 200, .content_length = -1, .field_count = 1 };
    apr_size_t size, used, name_at = RESPONSE_REASON + 5;
    char *bytes;
    apr_status_t rv;

    response.reason = text("");
    response.fields = fields;
    bytes = encoded_response(&response, &size);
    bytes[name_at] = (char)id;
    memmove(bytes + name_at + 1, bytes + name_at + 1 + 6, size - name_at - 7);
    rv = wire_response_decode(bytes, size - 6, fields, 1, &response, &used);
    if (rv == APR_SUCCESS) {
        assert_true(fields[0].name.len < room);
        memcpy(name, fields[0].name.data, fields[0].name.len + 1);
    }
    free(bytes);
    return rv;
}

static void test_interned_names_are_all_found_and_cost_one_byte(void **state)
{
    wire_field_t fields[1];
    wire_response_t response = { .status = 200, .content_length = -1, .field_count = 1 };
    char name[64];
    int id;

    (void)state;
    response.fields = fields;
    response.reason = text("");
    for (id = 1; name_of_id(id, name, sizeof(name)) == APR_SUCCESS; id++) {
        apr_size_t size;
        char *bytes;

        fields[0] = field(name, "v");
        bytes = encoded_response(&response, &size);
        assert_int_equal((unsigned char)bytes[RESPONSE_REASON + 5], id);
        assert_int_equal(size, RESPONSE_REASON + 5 + 1 + 6);
        free(bytes);
    }
    assert_true(id > 60);
    for (; id < 256; id++) {
        assert_int_equal(name_of_id(id, name, sizeof(name)), APR_EINVAL);
    }
}

/* ---- Response heads ---- */

static void test_response_comes_back_as_it_went(void **state)
{
    wire_field_t fields[3], room[FIELD_ROOM];
    wire_response_t response = sample_response(fields);
    wire_response_t found;
    apr_size_t size, used;
    char *bytes = encoded_response(&response, &size);

    (void)state;
    assert_int_equal(wire_response_decode(bytes, size, room, FIELD_ROOM, &found, &used),
                     APR_SUCCESS);
    assert_int_equal(used, size);
    assert_int_equal(found.status, 200);
    assert_true(found.content_length == 5);
    assert_text(found.reason, response.reason);
    assert_int_equal(found.field_count, 3);
    assert_fields(found.fields, response.fields, 3);
    free(bytes);
}

static void test_response_is_refused_when_cut_at_any_byte(void **state)
{
    wire_field_t fields[3];
    wire_response_t response = sample_response(fields);
    apr_size_t size;
    char *bytes = encoded_response(&response, &size);

    (void)state;
    assert_every_cut_is_refused(decode_response, bytes, size);
    free(bytes);
}

static void test_response_with_any_byte_changed_is_never_read_beyond(void **state)
{
    wire_field_t fields[3];
    wire_response_t response = sample_response(fields);
    apr_size_t size;
    char *bytes = encoded_response(&response, &size);

    (void)state;
    assert_every_byte_may_change(decode_response, bytes, size);
    free(bytes);
}

static void test_response_is_not_written_beyond_the_room(void **state)
{
    wire_field_t fields[3];
    wire_response_t response = sample_response(fields);
    apr_size_t size = wire_response_size(&response);
    apr_size_t room, written;

    (void)state;
    for (room = 0; room < size; room++) {
        char *out = malloc(room ? room : 1);

        assert_int_equal(wire_response_encode(&response, out, room, &written), APR_ENOSPC);
        free(out);
    }
}

static void test_response_bounds_status_length_and_fields(void **state)
{
    static const struct {
        apr_uint16_t status;
        apr_int64_t content_length;
        apr_uint32_t field_count;
        apr_status_t expected;
    } cases[] = { { 99, -1, 0, APR_EINVAL },
                  { 100, -1, 0, APR_SUCCESS },
                  { 999, APR_INT64_MAX, 0, APR_SUCCESS },
                  { 1000, -1, 0, APR_EINVAL },
                  { 0, -1, 0, APR_EINVAL },
                  { 65535, -1, 0, APR_EINVAL },
                  { 200, -2, 0, APR_EINVAL },
                  { 200, APR_INT64_MIN, 0, APR_EINVAL },
                  { 200, -1, WIRE_FIELDS_MAX + 1, APR_EINVAL } };
    wire_response_t good = { .status = 200, .content_length = -1 };
    apr_size_t size, written, i;
    char *bytes = encoded_response(&good, &size);
    char out[64];

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        wire_response_t response = { .status = cases[i].status,
                                     .content_length = cases[i].content_length,
                                     .field_count = cases[i].field_count };

        assert_int_equal(wire_response_encode(&response, out, sizeof(out), &written),
                         cases[i].expected);
        memcpy(bytes, &cases[i].status, sizeof(cases[i].status));
        put_i64(bytes + 2, cases[i].content_length);
        put_u32(bytes + RESPONSE_COUNT, cases[i].field_count);
        assert_int_equal(decode_response(bytes, size, FIELD_ROOM), cases[i].expected);
    }
    free(bytes);
}

static void test_response_says_how_much_room_its_fields_need(void **state)
{
    wire_field_t fields[3], room[2];
    wire_response_t response = sample_response(fields);
    wire_response_t found;
    apr_size_t size, used;
    char *bytes = encoded_response(&response, &size);

    (void)state;
    assert_int_equal(wire_response_decode(bytes, size, room, 2, &found, &used), APR_ENOSPC);
    assert_int_equal(used, 3);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_comes_back_as_it_went),
        cmocka_unit_test(test_head_without_fields_and_texts_needs_no_room),
        cmocka_unit_test(test_head_tells_where_the_body_behind_it_begins),
        cmocka_unit_test(test_head_is_refused_when_cut_at_any_byte),
        cmocka_unit_test(test_head_with_any_byte_changed_is_never_read_beyond),
        cmocka_unit_test(test_head_says_how_much_room_its_fields_need),
        cmocka_unit_test(test_head_is_not_written_beyond_the_room),
        cmocka_unit_test(test_head_refuses_numbers_over_their_bounds),
        cmocka_unit_test(test_head_encode_refuses_what_no_decoder_would_take),
        cmocka_unit_test(test_field_with_a_nul_is_refused_in_name_and_value),
        cmocka_unit_test(test_head_of_the_largest_size_passes_and_one_byte_more_does_not),
        cmocka_unit_test(test_head_over_the_largest_size_is_refused_when_decoded),
        cmocka_unit_test(test_interned_names_are_all_found_and_cost_one_byte),
        cmocka_unit_test(test_response_comes_back_as_it_went),
        cmocka_unit_test(test_response_is_refused_when_cut_at_any_byte),
        cmocka_unit_test(test_response_with_any_byte_changed_is_never_read_beyond),
        cmocka_unit_test(test_response_is_not_written_beyond_the_room),
        cmocka_unit_test(test_response_bounds_status_length_and_fields),
        cmocka_unit_test(test_response_says_how_much_room_its_fields_need),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
