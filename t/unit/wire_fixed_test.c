/* SPDX-License-Identifier: Apache-2.0 */
// links: server/wire_frame.c
/*
 * wire_fixed_test.c: what has one size in every frame (the header, a file's range, a window's
 * credit) survives the way there and back, and is refused in any other size and beyond its bounds.
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

static char *copy(const char *bytes, apr_size_t size)
{
    return memcpy(malloc(size ? size : 1), bytes, size);
}

/* ---- Headers of frames ---- */

static unsigned flags_of(int type)
{
    switch (type) {
    case WIRE_TICKET:
        return WIRE_MORE | WIRE_FINAL | WIRE_HAS_BODY | WIRE_ON_DEMAND;
    case WIRE_HEAD:
        return WIRE_MORE;
    case WIRE_BODY:
    case WIRE_DATA:
    case WIRE_FILE:
        return WIRE_FINAL;
    case WIRE_RESPONSE:
        return WIRE_MORE | WIRE_FINAL;
    case WIRE_BODY_END:
        return WIRE_ABORTED;
    case WIRE_END:
        return WIRE_ABORTED | WIRE_FINAL;
    default:
        return 0;
    }
}

static void test_header_decodes_exactly_the_types_and_flags_that_exist(void **state)
{
    int type, flags;

    (void)state;
    for (type = 0; type < 256; type++) {
        for (flags = 0; flags < 256; flags++) {
            wire_header_t header = { (apr_byte_t)type, (apr_byte_t)flags, 65535, 0xfffffffeu };
            char *frame = malloc(WIRE_HEADER_SIZE);
            wire_header_t found;
            apr_status_t rv;

            wire_header_encode(&header, frame);
            rv = wire_header_decode(frame, WIRE_HEADER_SIZE, &found);
            free(frame);
            if (type < WIRE_TICKET || type > WIRE_WINDOW || (flags & ~(int)flags_of(type))) {
                assert_int_equal(rv, APR_EINVAL);
                continue;
            }
            assert_int_equal(rv, APR_SUCCESS);
            assert_int_equal(found.type, type);
            assert_int_equal(found.flags, flags);
            assert_int_equal(found.channel, 65535);
            assert_int_equal(found.req, 0xfffffffeu);
        }
    }
}

static void test_header_is_refused_when_cut(void **state)
{
    wire_header_t header = { WIRE_TICKET, 0, 1, 2 };
    char frame[WIRE_HEADER_SIZE];
    apr_size_t cut;

    (void)state;
    wire_header_encode(&header, frame);
    for (cut = 0; cut < WIRE_HEADER_SIZE; cut++) {
        char *piece = copy(frame, cut);
        wire_header_t found;

        assert_int_equal(wire_header_decode(piece, cut, &found), APR_EINVAL);
        free(piece);
    }
}

/* ---- Files and windows ---- */

static void test_file_bounds_offset_length_and_their_sum(void **state)
{
    static const struct {
        wire_file_t file;
        apr_status_t expected;
    } cases[] = { { { 0, 0 }, APR_SUCCESS },
                  { { 4096, APR_INT64_C(5000000000) }, APR_SUCCESS },
                  { { 1, APR_INT64_MAX - 1 }, APR_SUCCESS },
                  { { 1, APR_INT64_MAX }, APR_EINVAL },
                  { { -1, 1 }, APR_EINVAL },
                  { { 1, -1 }, APR_EINVAL } };
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *bytes = malloc(WIRE_FILE_SIZE);
        wire_file_t found;

        wire_file_encode(&cases[i].file, bytes);
        assert_int_equal(wire_file_decode(bytes, WIRE_FILE_SIZE, &found), cases[i].expected);
        assert_true(found.offset == cases[i].file.offset);
        assert_true(found.length == cases[i].file.length);
        free(bytes);
    }
}

static void test_window_bounds_the_credit(void **state)
{
    static const struct {
        apr_uint32_t credit;
        apr_status_t expected;
    } cases[] = { { 0, APR_EINVAL },
                  { 1, APR_SUCCESS },
                  { WIRE_WINDOW_MAX, APR_SUCCESS },
                  { WIRE_WINDOW_MAX + 1, APR_EINVAL },
                  { 0xffffffffu, APR_EINVAL } };
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *bytes = malloc(WIRE_WINDOW_SIZE);
        apr_uint32_t found;

        wire_window_encode(cases[i].credit, bytes);
        assert_int_equal(wire_window_decode(bytes, WIRE_WINDOW_SIZE, &found), cases[i].expected);
        assert_int_equal(found, cases[i].credit);
        free(bytes);
    }
}

static void test_file_and_window_are_refused_in_any_other_size(void **state)
{
    static const char zeros[WIRE_FILE_SIZE + 1];
    apr_size_t size;

    (void)state;
    for (size = 0; size <= WIRE_FILE_SIZE + 1; size++) {
        char *bytes = copy(zeros, size);
        wire_file_t file;
        apr_uint32_t credit;

        assert_int_equal(wire_file_decode(bytes, size, &file),
                         size == WIRE_FILE_SIZE ? APR_SUCCESS : APR_EINVAL);
        if (size != WIRE_WINDOW_SIZE) {
            assert_int_equal(wire_window_decode(bytes, size, &credit), APR_EINVAL);
        }
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_decodes_exactly_the_types_and_flags_that_exist),
        cmocka_unit_test(test_header_is_refused_when_cut),
        cmocka_unit_test(test_file_bounds_offset_length_and_their_sum),
        cmocka_unit_test(test_window_bounds_the_credit),
        cmocka_unit_test(test_file_and_window_are_refused_in_any_other_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
