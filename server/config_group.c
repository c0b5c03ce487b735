/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_group.c: PipelineDaemonProcess, a group of daemon processes and its options.
 *
 * Called in the httpd parent while it reads and checks its configuration; single-threaded, no
 * Python.  One table holds every option: its name, how it is written, where it goes, its range and
 * default.
 */
#include "server/config_private.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_file_info.h>
#include <apr_strings.h>
#include <ap_config.h>
#include <unixd.h>

typedef enum {
    OPTION_NUMBER,
    OPTION_TIME,
    OPTION_OCTAL,
    OPTION_TEXT,
    OPTION_FILE,   /* an absolute path */
    OPTION_FILES,  /* absolute paths with colons between them */
    OPTION_VERSION /* 3.11 */
} option_type_e;

typedef struct option_t {
    const char *name;
    option_type_e type;
    size_t offset;     /* in config_group_t */
    apr_int64_t least; /* numbers as they are, times in us */
    apr_int64_t most;
    apr_int64_t initial; /* texts start as NULL */
} option_t;

#define MS         APR_TIME_C(1000)
#define SECOND     (1000 * MS)
#define HOUR       (3600 * SECOND)
#define AT(member) offsetof(config_group_t, member)

/* 65,535 channels are what the frame's header can tell apart; the other limits are guards against
 * slips: a thousand processes or threads is beyond what one interpreter module serves well. */
#define CHANNELS_MAX 65535

static const option_t options[] = {
    { "processes", OPTION_NUMBER, AT(processes), 1, 1000, 2 },
    { "threads", OPTION_NUMBER, AT(threads), 1, 1000, 1 },
    { "channels", OPTION_NUMBER, AT(channels), 1, CHANNELS_MAX, 0 },
    { "user", OPTION_TEXT, AT(user), 0, 0, 0 },
    { "group", OPTION_TEXT, AT(group), 0, 0, 0 },
    { "home", OPTION_FILE, AT(home), 0, 0, 0 },
    { "umask", OPTION_OCTAL, AT(umask), 0, 0777, -1 },
    { "lang", OPTION_TEXT, AT(lang), 0, 0, 0 },
    { "display-name", OPTION_TEXT, AT(display_name), 0, 0, 0 },
    { "python-home", OPTION_FILE, AT(python_home), 0, 0, 0 },
    { "python-path", OPTION_FILES, AT(python_path), 0, 0, 0 },
    { "python-version", OPTION_VERSION, AT(python_version), 0, 0, 0 },
    { "interp-module", OPTION_FILE, AT(interp_module), 0, 0, 0 },
    { "queue-timeout", OPTION_TIME, AT(queue_timeout), 0, HOUR, 30 * SECOND },
    { "startup-timeout", OPTION_TIME, AT(startup_timeout), SECOND, HOUR, 120 * SECOND },
    { "request-timeout", OPTION_TIME, AT(request_timeout), 0, 24 * HOUR, 60 * SECOND },
    { "graceful-timeout", OPTION_TIME, AT(graceful_timeout), 0, 24 * HOUR, 60 * SECOND },
    { "shutdown-timeout", OPTION_TIME, AT(shutdown_timeout), 100 * MS, HOUR, 5 * SECOND },
    { "maximum-requests", OPTION_NUMBER, AT(maximum_requests), 0, APR_INT32_MAX, 0 },
};
#define OPTION_COUNT ((int)(sizeof(options) / sizeof(options[0])))
_Static_assert(OPTION_COUNT <= 32, "options that were seen are bits of an unsigned");

static const struct {
    const char *suffix;
    apr_int64_t us;
} units[] = {
    { "", SECOND }, { "s", SECOND }, { "ms", MS }, { "min", 60 * SECOND }, { "h", HOUR }
};

static void option_set(config_group_t *group, const option_t *option, apr_int64_t number,
                       const char *text)
{
    void *at = (char *)group + option->offset;

    switch (option->type) {
    case OPTION_NUMBER:
    case OPTION_OCTAL:
        *(int *)at = (int)number;
        break;
    case OPTION_TIME:
        *(apr_interval_time_t *)at = number;
        break;
    case OPTION_TEXT:
    case OPTION_FILE:
    case OPTION_FILES:
    case OPTION_VERSION:
        *(const char **)at = text;
        break;
    }
}

/* Digits and what follows them; 0 when there are none, or too many. */
static int number_parse(const char *text, int base, apr_int64_t *number, const char **rest)
{
    char *end;

    if (text[0] < '0' || text[0] > '9') {
        return 0;
    }
    errno = 0;
    *number = apr_strtoi64(text, &end, base);
    *rest = end;
    return errno == 0;
}

static int time_parse(const char *text, apr_int64_t *us)
{
    const char *suffix;
    apr_size_t i;

    if (!number_parse(text, 10, us, &suffix)) {
        return 0;
    }
    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(suffix, units[i].suffix) == 0) {
            if (*us > APR_INT64_MAX / units[i].us) {
                return 0;
            }
            *us *= units[i].us;
            return 1;
        }
    }
    return 0;
}

/* "30s", "500ms": a limit as it would be written. */
static const char *time_text(apr_pool_t *p, apr_int64_t us)
{
    if (us % SECOND) {
        return apr_psprintf(p, "%" APR_INT64_T_FMT "ms", us / MS);
    }
    return apr_psprintf(p, "%" APR_INT64_T_FMT "s", us / SECOND);
}

static const char *read_time(cmd_parms *cmd, const option_t *option, const char *value,
                             config_group_t *group)
{
    apr_int64_t us;

    if (!time_parse(value, &us)) {
        return config_refuse(
            cmd, "%s=%s is not a time: a whole number, with s (the default), ms, min or h",
            option->name, value);
    }
    if (us < option->least || us > option->most) {
        return config_refuse(cmd, "%s=%s is not between %s and %s", option->name, value,
                             time_text(cmd->pool, option->least),
                             time_text(cmd->pool, option->most));
    }
    option_set(group, option, us, NULL);
    return NULL;
}

static const char *read_number(cmd_parms *cmd, const option_t *option, const char *value,
                               config_group_t *group)
{
    apr_int64_t number;
    const char *rest;

    if (!number_parse(value, option->type == OPTION_OCTAL ? 8 : 10, &number, &rest) || *rest ||
        number < option->least || number > option->most) {
        if (option->type == OPTION_OCTAL) {
            return config_refuse(cmd, "%s=%s is not an octal number between %o and %o",
                                 option->name, value, (unsigned)option->least,
                                 (unsigned)option->most);
        }
        return config_refuse(
            cmd, "%s=%s is not a whole number between %" APR_INT64_T_FMT " and %" APR_INT64_T_FMT,
            option->name, value, option->least, option->most);
    }
    option_set(group, option, number, NULL);
    return NULL;
}

static int files_are_absolute(apr_pool_t *p, const char *files)
{
    char *copy = apr_pstrdup(p, files);
    char *colon;

    do {
        colon = strchr(copy, ':');
        if (colon) {
            *colon = '\0';
        }
        if (!config_word_is_file(copy)) {
            return 0;
        }
        copy = colon + 1;
    } while (colon);
    return 1;
}

static int is_version(const char *text)
{
    apr_size_t major = strspn(text, "0123456789");
    apr_size_t minor = text[major] == '.' ? strspn(text + major + 1, "0123456789") : 0;

    return major > 0 && minor > 0 && major + minor < 8 && !text[major + 1 + minor];
}

static const char *read_text(cmd_parms *cmd, const option_t *option, const char *value,
                             config_group_t *group)
{
    if (!*value) {
        return config_refuse(cmd, "%s= has no value", option->name);
    }
    if (option->type == OPTION_FILE && !config_word_is_file(value)) {
        return config_refuse(cmd, "%s=%s is not an absolute path", option->name, value);
    }
    if (option->type == OPTION_FILES && !files_are_absolute(cmd->temp_pool, value)) {
        return config_refuse(cmd, "%s=%s: each path between colons must be absolute", option->name,
                             value);
    }
    if (option->type == OPTION_VERSION && !is_version(value)) {
        return config_refuse(cmd, "%s=%s is not a version like %s", option->name, value,
                             PIPELINE_PYTHON_VERSION);
    }
    option_set(group, option, 0, value);
    return NULL;
}

static const char *option_read(cmd_parms *cmd, const option_t *option, const char *value,
                               config_group_t *group)
{
    switch (option->type) {
    case OPTION_NUMBER:
    case OPTION_OCTAL:
        return read_number(cmd, option, value, group);
    case OPTION_TIME:
        return read_time(cmd, option, value, group);
    default:
        return read_text(cmd, option, value, group);
    }
}

static int option_find(const char *name)
{
    int i;

    for (i = 0; i < OPTION_COUNT; i++) {
        if (strcmp(options[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static const char *option_word(cmd_parms *cmd, const char *word, unsigned *seen,
                               config_group_t *group)
{
    const char *key, *value;
    int i;

    if (!config_word_split(cmd->pool, word, &key, &value)) {
        return config_refuse(cmd, "'%s' is not of the form option=value", word);
    }
    i = option_find(key);
    if (i < 0) {
        return config_refuse(cmd, "there is no option '%s'", key);
    }
    if (*seen & (1u << i)) {
        return config_refuse(cmd, "%s= is given twice", key);
    }
    *seen |= 1u << i;
    return option_read(cmd, &options[i], value, group);
}

static config_group_t *group_create(cmd_parms *cmd, const char *name)
{
    config_group_t *group = apr_pcalloc(cmd->pool, sizeof(*group));
    int i;

    for (i = 0; i < OPTION_COUNT; i++) {
        option_set(group, &options[i], options[i].initial, NULL);
    }
    group->name = name;
    group->place = config_place(cmd);
    group->zcml = apr_array_make(cmd->pool, 1, sizeof(const char *));
    group->mounts = apr_array_make(cmd->pool, 4, sizeof(config_mount_t *));
    group->mounts_by_id = apr_array_make(cmd->pool, 4, sizeof(config_mount_t *));
    return group;
}

config_group_t *config_group_find(const config_server_t *main_config, const char *name)
{
    int i;

    for (i = 0; i < main_config->groups->nelts; i++) {
        config_group_t *group = APR_ARRAY_IDX(main_config->groups, i, config_group_t *);

        if (strcmp(group->name, name) == 0) {
            return group;
        }
    }
    return NULL;
}

const char *config_group_read(cmd_parms *cmd, const apr_array_header_t *words)
{
    config_server_t *config = config_server_get(cmd->server);
    const char *name = APR_ARRAY_IDX(words, 0, const char *);
    config_group_t *group;
    unsigned seen = 0;
    int i;

    if (!config_word_is_name(name)) {
        return config_refuse(cmd, "'%s' is not a name of letters, digits, '_', '-' and '.'", name);
    }
    group = config_group_find(config, name);
    if (group) {
        return config_refuse(cmd, "the group '%s' was declared before, at %s:%d", name,
                             group->place.file, group->place.line);
    }
    group = group_create(cmd, name);
    for (i = 1; i < words->nelts; i++) {
        const char *error = option_word(cmd, APR_ARRAY_IDX(words, i, const char *), &seen, group);

        if (error) {
            return error;
        }
    }
    APR_ARRAY_PUSH(config->groups, config_group_t *) = group;
    return NULL;
}

/* The option's value as it would be written; NULL: not set. */
static const char *option_text(const config_group_t *group, const option_t *option, apr_pool_t *p)
{
    const void *at = (const char *)group + option->offset;

    switch (option->type) {
    case OPTION_NUMBER:
        return apr_itoa(p, *(const int *)at);
    case OPTION_OCTAL:
        return *(const int *)at < 0 ? NULL : apr_psprintf(p, "%04o", *(const unsigned *)at);
    case OPTION_TIME:
        return time_text(p, *(const apr_interval_time_t *)at);
    default:
        return *(const char *const *)at;
    }
}

const char *config_group_describe(const config_group_t *group, apr_pool_t *p)
{
    const char *text = "";
    int i;

    for (i = 0; i < OPTION_COUNT; i++) {
        const char *value = option_text(group, &options[i], p);

        if (value) {
            text = apr_pstrcat(p, text, "  ", options[i].name, "=", value, "\n", NULL);
        }
    }
    return text;
}

/* ---- After every file was read ---- */

/* "#1000" is a number, as in httpd's own User and Group. */
static int number_id(const char *name, apr_int64_t *id)
{
    const char *rest;

    return name[0] == '#' && number_parse(name + 1, 10, id, &rest) && !*rest &&
           *id <= APR_INT32_MAX;
}

static int user_resolve(config_group_t *group, apr_pool_t *ptemp)
{
    struct passwd *entry;
    apr_int64_t id;

    if (number_id(group->user, &id)) {
        group->uid = (uid_t)id;
        entry = getpwuid(group->uid);
    } else {
        entry = getpwnam(group->user);
        if (!entry) {
            return config_check_refuse(PIPELOGNO(0103), &group->place, ptemp,
                                       "there is no user '%s'", group->user);
        }
        group->uid = entry->pw_uid;
    }
    if (entry) {
        group->gid = entry->pw_gid;
    }
    return OK;
}

static int group_resolve(config_group_t *group, apr_pool_t *ptemp)
{
    struct group *entry;
    apr_int64_t id;

    if (number_id(group->group, &id)) {
        group->gid = (gid_t)id;
        return OK;
    }
    entry = getgrnam(group->group);
    if (!entry) {
        return config_check_refuse(PIPELOGNO(0103), &group->place, ptemp, "there is no group '%s'",
                                   group->group);
    }
    group->gid = entry->gr_gid;
    return OK;
}

/* Without user= and group= the daemons run as httpd's children do. */
static int identity_resolve(config_group_t *group, apr_pool_t *ptemp)
{
    int as_root = geteuid() == 0;
    int rv = OK;

    group->uid = as_root ? ap_unixd_config.user_id : geteuid();
    group->gid = as_root ? ap_unixd_config.group_id : getegid();
    if (group->user) {
        rv = user_resolve(group, ptemp);
    }
    if (rv == OK && group->group) {
        rv = group_resolve(group, ptemp);
    }
    if (rv == OK && as_root && (group->uid == 0 || group->uid == (uid_t)-1)) {
        return config_check_refuse(PIPELOGNO(0104), &group->place, ptemp,
                                   "the group '%s' would run as root: set user=, or httpd's User",
                                   group->name);
    }
    return rv;
}

static int interp_module_resolve(config_group_t *group, apr_pool_t *pconf, apr_pool_t *ptemp)
{
    const char *version = group->python_version ? group->python_version : PIPELINE_PYTHON_VERSION;
    apr_finfo_t info;
    apr_status_t rv;

    if (!group->interp_module) {
        const char *module = config_digest_module_path();
        const char *slash = strrchr(module, '/');

        group->interp_module =
            apr_psprintf(pconf, "%.*s/mod_pipeline_python%s.so", slash ? (int)(slash - module) : 1,
                         slash ? module : ".", version);
    }
    rv = apr_stat(&info, group->interp_module, APR_FINFO_TYPE, ptemp);
    if (rv != APR_SUCCESS || info.filetype != APR_REG) {
        return config_check_refuse(
            PIPELOGNO(0105), &group->place, ptemp,
            "the group '%s' needs the interpreter module %s, which is not there", group->name,
            group->interp_module);
    }
    return OK;
}

int config_group_check(config_group_t *group, apr_pool_t *pconf, apr_pool_t *ptemp)
{
    int workers = group->processes * group->threads;
    int most = group->channels ? group->channels : CHANNELS_MAX;
    int rv = identity_resolve(group, ptemp);

    if (rv != OK) {
        return rv;
    }
    if (workers > most) {
        return config_check_refuse(PIPELOGNO(0106), &group->place, ptemp,
                                   "the group '%s' has %d workers, and only %d channels for them",
                                   group->name, workers, most);
    }
    return interp_module_resolve(group, pconf, ptemp);
}
