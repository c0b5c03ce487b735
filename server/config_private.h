/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_private.h: what the config_*.c files share while the httpd parent reads its configuration.
 *
 * A directive is split into words once, in config_words.c, and handed to the file of its noun,
 * which answers NULL or the text that httpd prints before it gives up.  The application's files are
 * not looked at: one that is missing is the daemon's to report, since an error while httpd restarts
 * would end it.
 */
#ifndef SERVER_CONFIG_PRIVATE_H
#define SERVER_CONFIG_PRIVATE_H

#include "server/config.h"

/* One directive; hangs from cmd_parms.info. */
typedef struct config_directive_t {
    int global; /* 1: only outside of every <VirtualHost> */
    int words_min;
    int words_max;
    const char *usage; /* its arguments, for refusals */
    const char *(*read)(cmd_parms *cmd, const apr_array_header_t *words);
} config_directive_t;

/* ---- config_words.c ---- */

/* The function of every command_rec (RAW_ARGS): checks the context, splits, counts, calls read. */
const char *config_directive_read(cmd_parms *cmd, void *unused, const char *args);

/* "PIPE0100: DIRECTIVE at FILE:LINE: reason", owned by cmd->pool. */
const char *config_refuse(const cmd_parms *cmd, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

config_place_t config_place(const cmd_parms *cmd);

/* Splits key=value at the first '='; 0 when there is no '=' or no key. */
int config_word_split(apr_pool_t *p, const char *word, const char **key, const char **value);

/* Names of groups, storages, stages: 1 to 64 letters, digits, '_', '-' and '.', no '.' in front. */
int config_word_is_name(const char *word);

/* A dotted Python identifier of `len` bytes; bytes over 127 pass, for Python to judge. */
int config_word_is_dotted(const char *word, apr_size_t len);

/* module:callable, both dotted. */
int config_word_is_callable(const char *word);

/* A URL prefix or a storage's folder: absolute, without empty, "." and ".." segments, and without
 * control characters. */
int config_word_is_path(const char *word);

/* An absolute file name without control characters. */
int config_word_is_file(const char *word);

/* ---- One reader per directive, in the file of its noun ---- */

const char *config_group_read(cmd_parms *cmd, const apr_array_header_t *words);
const char *config_storage_read(cmd_parms *cmd, const apr_array_header_t *words);
const char *config_stage_read(cmd_parms *cmd, const apr_array_header_t *words);
const char *config_mount_read_root(cmd_parms *cmd, const apr_array_header_t *words);
const char *config_mount_read_script(cmd_parms *cmd, const apr_array_header_t *words);

/* ---- Lookups ---- */

config_group_t *config_group_find(const config_server_t *main_config, const char *name);
const config_storage_t *config_storage_find(const config_server_t *main_config, const char *name);

/* ---- config_check.c hands these out ---- */

/* Logs "PIPEnnnn: DIRECTIVE at FILE:LINE: reason", and returns HTTP_INTERNAL_SERVER_ERROR. */
int config_check_refuse(const char *id, const config_place_t *place, apr_pool_t *ptemp,
                        const char *format, ...) __attribute__((format(printf, 4, 5)));

/* config_group.c: every option that has a value, "  name=value" on a line of its own. */
const char *config_group_describe(const config_group_t *group, apr_pool_t *p);

/* config_group.c: identity, interpreter module. */
int config_group_check(config_group_t *group, apr_pool_t *pconf, apr_pool_t *ptemp);

/* config_mount.c: resolves and sorts the mounts of a server. */
int config_mount_check(config_server_t *config, server_rec *s, const config_server_t *main_config,
                       const char *host_key, apr_pool_t *ptemp);

/* config_digest.c: fills group->digest. */
void config_digest_compute(config_group_t *group, apr_pool_t *pconf, apr_pool_t *ptemp);

/* config_digest.c: the file of mod_pipeline.so, as the loader knows it; owned by the loader. */
const char *config_digest_module_path(void);

#endif
