/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_words.c: a directive's arguments as words, and the shapes that words may have.
 *
 * Called in the httpd parent while it reads its configuration; single-threaded, no Python.  Every
 * directive goes through config_directive_read(), so that all of them refuse alike: one line with
 * the directive, the file, the line and the reason.
 */
#include "server/config_private.h"

#include <ctype.h>
#include <string.h>

#include <apr_strings.h>

#define NAME_LEN_MAX 64 /* it ends up in process titles and metrics */

const char *config_refuse(const cmd_parms *cmd, const char *format, ...)
{
    va_list arguments;
    const char *reason;

    va_start(arguments, format);
    reason = apr_pvsprintf(cmd->pool, format, arguments);
    va_end(arguments);
    return apr_psprintf(cmd->pool, PIPELOGNO(0100) "%s at %s:%d: %s", cmd->cmd->name,
                        cmd->directive->filename, cmd->directive->line_num, reason);
}

config_place_t config_place(const cmd_parms *cmd)
{
    config_place_t place = { cmd->cmd->name, cmd->directive->filename, cmd->directive->line_num };

    return place;
}

/*
 * Takes one word off *at.  A quote opens at the start of a word or of a value (key="a b"), and
 * closes at its like; inside, a backslash protects the quote and itself.  NULL: the quote is never
 * closed.
 */
static char *word_take(apr_pool_t *p, const char **at)
{
    const char *in = *at;
    char *word = apr_palloc(p, strlen(in) + 1);
    char *out = word;
    char quote = 0;

    for (; *in && (quote || !isspace((unsigned char)*in)); in++) {
        if (quote && *in == '\\' && (in[1] == quote || in[1] == '\\')) {
            *out++ = *++in;
        } else if (quote && *in == quote) {
            quote = 0;
        } else if (!quote && (*in == '"' || *in == '\'') && (out == word || out[-1] == '=')) {
            quote = *in;
        } else {
            *out++ = *in;
        }
    }
    *out = '\0';
    *at = in;
    return quote ? NULL : word;
}

static const char *words_split(cmd_parms *cmd, const char *args, apr_array_header_t *words)
{
    while (isspace((unsigned char)*args)) {
        args++;
    }
    while (*args) {
        const char *word = word_take(cmd->pool, &args);

        if (!word) {
            return config_refuse(cmd, "a quote is not closed");
        }
        APR_ARRAY_PUSH(words, const char *) = word;
        while (isspace((unsigned char)*args)) {
            args++;
        }
    }
    return NULL;
}

const char *config_directive_read(cmd_parms *cmd, void *unused, const char *args)
{
    const config_directive_t *directive = cmd->info;
    apr_array_header_t *words = apr_array_make(cmd->pool, 8, sizeof(const char *));
    const char *error;

    (void)unused;
    if (ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT | NOT_IN_HTACCESS)) {
        return config_refuse(cmd,
                             "belongs to a server or <VirtualHost>, not into a section inside it");
    }
    if (directive->global && ap_check_cmd_context(cmd, NOT_IN_VIRTUALHOST)) {
        return config_refuse(cmd, "belongs outside of every <VirtualHost>");
    }
    error = words_split(cmd, args, words);
    if (error) {
        return error;
    }
    if (words->nelts < directive->words_min || words->nelts > directive->words_max) {
        return config_refuse(cmd, "too %s arguments: it takes %s",
                             words->nelts < directive->words_min ? "few" : "many",
                             directive->usage);
    }
    return directive->read(cmd, words);
}

int config_word_split(apr_pool_t *p, const char *word, const char **key, const char **value)
{
    const char *equals = strchr(word, '=');

    *key = *value = NULL;
    if (!equals || equals == word) {
        return 0;
    }
    *key = apr_pstrmemdup(p, word, (apr_size_t)(equals - word));
    *value = equals + 1;
    return 1;
}

int config_word_is_name(const char *word)
{
    apr_size_t len = strlen(word);

    return len > 0 && len <= NAME_LEN_MAX && word[0] != '.' &&
           strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == len;
}

static int is_identifier_byte(unsigned char c, int first)
{
    return c == '_' || c > 127 || isalpha(c) || (!first && isdigit(c));
}

int config_word_is_dotted(const char *word, apr_size_t len)
{
    apr_size_t i;
    int first = 1;

    for (i = 0; i < len; i++) {
        if (word[i] == '.' && !first) {
            first = 1;
        } else if (is_identifier_byte((unsigned char)word[i], first)) {
            first = 0;
        } else {
            return 0;
        }
    }
    return !first;
}

int config_word_is_callable(const char *word)
{
    const char *colon = strchr(word, ':');

    return colon && config_word_is_dotted(word, (apr_size_t)(colon - word)) &&
           config_word_is_dotted(colon + 1, strlen(colon + 1));
}

static int has_control_bytes(const char *word)
{
    for (; *word; word++) {
        if (iscntrl((unsigned char)*word)) {
            return 1;
        }
    }
    return 0;
}

int config_word_is_file(const char *word)
{
    return word[0] == '/' && word[1] && !has_control_bytes(word);
}

static int is_plain_segment(const char *segment, apr_size_t len)
{
    return len > 2 || (len > 0 && memcmp(segment, "..", len) != 0);
}

int config_word_is_path(const char *word)
{
    const char *at = word;

    if (*at != '/' || has_control_bytes(word)) {
        return 0;
    }
    while (*at && word[1]) {
        apr_size_t len = strcspn(++at, "/");

        if (!is_plain_segment(at, len)) {
            return 0;
        }
        at += len;
    }
    return 1;
}
