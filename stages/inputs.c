/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inputs.c: the stage `inputs`: the form, from the body and the query string.
 *
 * A form that is malformed (400) or too large (413) is an exception, for which the site may have a
 * page.  A worker thread, with the GIL.
 */
#include "stages/runner_private.h"

static apr_status_t inputs_enter(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    PyObject *done = publish_call(py->publish, "parse_inputs", "(O)", py->request);

    Py_XDECREF(done);
    return done != NULL ? APR_SUCCESS : publish_raise(py);
}

const stage_actions_t stage_inputs = { "inputs", inputs_enter, NULL, NULL };
