/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order.c: sorts the stages of one server and checks their constraints.
 *
 * Called by config_check() in the httpd parent through order_check(); all state is in the pool that
 * it is given.  The sort is a depth-first walk, linear in stages and constraints:
 *
 * 1. A stage is placed once every stage that must stand before it has been placed.
 * 2. Roots of the walk are the built-in stages in the order of table.h, then all others.
 * 3. A stage that names others in `after` is placed as soon as the last of them has been; one that
 *    does not is placed when the first stage that must stand behind it is about to be.
 * 4. Meeting a stage that is being placed means a circle, and the stages on the way form it.
 *
 * States of a node:  NEW --place--> OPEN --predecessors placed--> PLACED
 */
#include "stages/order.h"

#include <apr_hash.h>
#include <apr_strings.h>

#include "stages/table.h"

typedef enum { ORDER_NEW, ORDER_OPEN, ORDER_PLACED } order_state_e;

typedef struct order_node_t {
    order_stage_t *stage;
    order_state_e state;
    int waits; /* for so many stages named in `after`, while eager */
    int eager; /* placed behind its last predecessor, not before its first successor */
    struct order_node_t *via;   /* while OPEN: the stage for whose sake it is being placed */
    apr_array_header_t *before; /* order_node_t *: stages that must stand before this one */
    apr_array_header_t *behind; /* order_node_t *: eager stages that wait for this one */
} order_node_t;

typedef struct order_sort_t {
    apr_pool_t *p;
    apr_array_header_t *nodes;  /* order_node_t * */
    apr_hash_t *names;          /* name -> order_node_t * */
    apr_array_header_t *sorted; /* order_stage_t * */
    const char *error;
} order_sort_t;

typedef struct order_builtin_t {
    const char *name;
    unsigned types;
    const char *after;
    const char *before;
} order_builtin_t;

#define ORDER_BUILTIN(name, types, after, before) { #name, types, after, before },
static const order_builtin_t order_builtins[] = { STAGE_TABLE(ORDER_BUILTIN) };
#define ORDER_BUILTIN_COUNT ((int)(sizeof order_builtins / sizeof *order_builtins))

const char *order_type_name(int type)
{
    static const char *const names[CONFIG_TYPE_COUNT] = { "browser", "http", "xmlrpc", "wsgi" };

    return names[type];
}

/* How a message names a stage, with the place where it was declared. */
static const char *order_describe(const order_stage_t *stage, apr_pool_t *p)
{
    if (stage->config != NULL) {
        return apr_psprintf(p, "PipelineStage %s at %s", stage->name, stage->origin);
    }
    return apr_psprintf(p, "stage %s (%s)", stage->name, stage->origin);
}

static order_node_t *order_node_add(order_sort_t *sort, order_stage_t *stage)
{
    order_node_t *node = apr_pcalloc(sort->p, sizeof *node);
    const order_node_t *twin = apr_hash_get(sort->names, stage->name, APR_HASH_KEY_STRING);

    node->stage = stage;
    node->before = apr_array_make(sort->p, 4, sizeof(order_node_t *));
    node->behind = apr_array_make(sort->p, 4, sizeof(order_node_t *));
    *(order_node_t **)apr_array_push(sort->nodes) = node;
    if (twin != NULL && sort->error == NULL) {
        sort->error =
            apr_pstrcat(sort->p, order_describe(stage, sort->p), ": the name is already that of ",
                        order_describe(twin->stage, sort->p), NULL);
    }
    apr_hash_set(sort->names, stage->name, APR_HASH_KEY_STRING, node);
    return node;
}

static order_stage_t *order_stage_make(order_sort_t *sort, const char *name, unsigned types,
                                       const char *after, const char *before)
{
    order_stage_t *stage = apr_pcalloc(sort->p, sizeof *stage);

    stage->name = name;
    stage->types = types;
    stage->after = after != NULL ? after : "";
    stage->before = before != NULL ? before : "";
    return stage;
}

static void order_collect(order_sort_t *sort, const apr_array_header_t *configured)
{
    const apr_array_header_t *added = order_added(sort->p);
    order_stage_t *stage;
    int i;

    for (i = 0; i < ORDER_BUILTIN_COUNT; ++i) {
        const order_builtin_t *b = &order_builtins[i];

        stage = order_stage_make(sort, b->name, b->types, b->after, b->before);
        stage->origin = "built in";
        order_node_add(sort, stage);
    }
    for (i = 0; i < added->nelts; ++i) {
        const stage_added_t *a = APR_ARRAY_IDX(added, i, const stage_added_t *);

        stage = order_stage_make(sort, a->name, a->types, a->after, a->before);
        stage->added = a;
        stage->origin = apr_pstrcat(sort->p, "module ", a->origin, NULL);
        order_node_add(sort, stage);
    }
    for (i = 0; configured != NULL && i < configured->nelts; ++i) {
        const config_stage_t *c = APR_ARRAY_IDX(configured, i, const config_stage_t *);

        stage = order_stage_make(sort, c->name, c->types, c->after, c->before);
        stage->config = c;
        stage->origin = apr_psprintf(sort->p, "%s:%d", c->place.file, c->place.line);
        order_node_add(sort, stage);
    }
}

static void order_link(order_node_t *first, order_node_t *second)
{
    *(order_node_t **)apr_array_push(second->before) = first;
}

/*
 * Links node with the stages of a comma-separated list: those of `after` stand before it, those of
 * `before` behind it.  Returns how many of them exist.
 */
static int order_link_names(order_sort_t *sort, order_node_t *node, const char *list, int after)
{
    char *rest = apr_pstrdup(sort->p, list), *last = NULL, *name;
    int found = 0;

    for (name = apr_strtok(rest, ", ", &last); name != NULL; name = apr_strtok(NULL, ", ", &last)) {
        int optional = *name == '?';
        order_node_t *other = apr_hash_get(sort->names, name + optional, APR_HASH_KEY_STRING);

        if (other == NULL && !optional && sort->error == NULL) {
            sort->error = apr_psprintf(
                sort->p, "%s: unknown stage \"%s\" in %s= (\"?%s\" may be absent)",
                order_describe(node->stage, sort->p), name, after ? "after" : "before", name);
        }
        if (other != NULL) {
            order_link(after ? other : node, after ? node : other);
            ++found;
        }
        if (other != NULL && after && node->eager) {
            *(order_node_t **)apr_array_push(other->behind) = node;
            ++node->waits;
        }
    }
    return found;
}

static order_node_t *order_node(const order_sort_t *sort, const char *name)
{
    return apr_hash_get(sort->names, name, APR_HASH_KEY_STRING);
}

/* Turns the constraints of every stage into links. */
static void order_link_all(order_sort_t *sort)
{
    int i;

    for (i = 0; i < sort->nodes->nelts; ++i) {
        order_node_t *node = APR_ARRAY_IDX(sort->nodes, i, order_node_t *);
        int named;

        node->eager = i >= ORDER_BUILTIN_COUNT;
        named = order_link_names(sort, node, node->stage->after, 1);
        node->eager = node->eager && named > 0;
        named += order_link_names(sort, node, node->stage->before, 0);
        if (node->stage->config != NULL) {
            order_link(order_node(sort, "interp"), node);
        }
        if (named == 0 && i >= ORDER_BUILTIN_COUNT) {
            order_link(node, order_node(sort, "call"));
        }
    }
}

/* The circle that was met when `from` asked for `node`, which is being placed. */
static void order_fail_circle(order_sort_t *sort, order_node_t *node, order_node_t *from)
{
    const char *where = "", *way = node->stage->name;
    order_node_t *step;

    for (step = from;; step = step->via) {
        way = apr_pstrcat(sort->p, way, " > ", step->stage->name, NULL);
        if (step->stage->config != NULL || step->stage->added != NULL) {
            where = apr_pstrcat(sort->p, order_describe(step->stage, sort->p), *where ? ", " : "",
                                where, NULL);
        }
        if (step == node) {
            break;
        }
    }
    sort->error = apr_pstrcat(
        sort->p, where, ": the stages would stand before each other in a circle: ", way, NULL);
}

static void order_place(order_sort_t *sort, order_node_t *node, order_node_t *via)
{
    int i;

    node->state = ORDER_OPEN;
    node->via = via;
    for (i = 0; i < node->before->nelts && sort->error == NULL; ++i) {
        order_node_t *first = APR_ARRAY_IDX(node->before, i, order_node_t *);

        if (first->state == ORDER_OPEN) {
            order_fail_circle(sort, first, node);
        } else if (first->state == ORDER_NEW) {
            order_place(sort, first, node);
        }
    }
    if (node->state == ORDER_PLACED || sort->error != NULL) {
        return;
    }
    node->state = ORDER_PLACED;
    node->stage->place = sort->sorted->nelts;
    *(order_stage_t **)apr_array_push(sort->sorted) = node->stage;
    for (i = 0; i < node->behind->nelts && sort->error == NULL; ++i) {
        order_node_t *next = APR_ARRAY_IDX(node->behind, i, order_node_t *);

        if (--next->waits == 0 && next->state == ORDER_NEW) {
            order_place(sort, next, NULL);
        }
    }
}

static void order_place_all(order_sort_t *sort)
{
    int i;

    for (i = 0; i < sort->nodes->nelts && sort->error == NULL; ++i) {
        order_node_t *node = APR_ARRAY_IDX(sort->nodes, i, order_node_t *);

        if (node->state == ORDER_NEW) {
            order_place(sort, node, NULL);
        }
    }
}

/* Before `classify` no type is known, so a stage there serves them all. */
static void order_check_types(order_sort_t *sort)
{
    const order_stage_t *classify = order_node(sort, "classify")->stage;
    int i;

    for (i = 0; i < classify->place; ++i) {
        const order_stage_t *stage = APR_ARRAY_IDX(sort->sorted, i, const order_stage_t *);

        if (stage->types != CONFIG_TYPE_ALL) {
            sort->error =
                apr_pstrcat(sort->p, order_describe(stage, sort->p),
                            ": stands before classify, so types= must name every type", NULL);
            return;
        }
    }
}

static const apr_array_header_t *order_of_type(const order_sort_t *sort, unsigned type)
{
    apr_array_header_t *order =
        apr_array_make(sort->p, sort->sorted->nelts, sizeof(order_stage_t *));
    int i;

    for (i = 0; i < sort->sorted->nelts; ++i) {
        order_stage_t *stage = APR_ARRAY_IDX(sort->sorted, i, order_stage_t *);

        if (stage->types & type) {
            *(order_stage_t **)apr_array_push(order) = stage;
        }
    }
    return order;
}

apr_status_t order_check(const apr_array_header_t *configured, apr_pool_t *p,
                         const apr_array_header_t *order[CONFIG_TYPE_COUNT], const char **error)
{
    order_sort_t sort = { .p = p };
    int i;

    sort.nodes = apr_array_make(p, 32, sizeof(order_node_t *));
    sort.sorted = apr_array_make(p, 32, sizeof(order_stage_t *));
    sort.names = apr_hash_make(p);
    order_collect(&sort, configured);
    if (sort.error == NULL) {
        order_link_all(&sort);
    }
    if (sort.error == NULL) {
        order_place_all(&sort);
    }
    if (sort.error == NULL) {
        order_check_types(&sort);
    }
    for (i = 0; i < CONFIG_TYPE_COUNT; ++i) {
        order[i] = sort.error == NULL ? order_of_type(&sort, 1u << i) : NULL;
    }
    *error = sort.error;
    return sort.error == NULL ? APR_SUCCESS : APR_EINVAL;
}
