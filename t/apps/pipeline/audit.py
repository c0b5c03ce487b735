# SPDX-License-Identifier: Apache-2.0
"""Stages that a site adds to the pipeline, in Python."""


def stage(environ, level="0"):
    """Before the yield: on the way in. After it: on the way out, with the response at hand."""
    environ["audit.level"] = level
    yield
    environ["zope.response"].setHeader("X-Audit", level)


def annotations(environ):
    """Tells the log what the transaction says of itself when it is committed."""
    current = environ["transaction"].get()
    current.addBeforeCommitHook(
        lambda: print("commit:", current.description, sorted(current.extension.items()))
    )


def hooks(environ):
    """Follows traversal, object by object."""
    seen = environ["audit.seen"] = []
    environ["zope.pipeline.traversal_hooks"].append(
        lambda request, ob: seen.append(type(ob).__name__)
    )
    yield
    environ["zope.response"].setHeader("X-Seen", ",".join(seen))


def spoil(environ):
    """On the way out, a header that cannot be sent."""
    yield
    environ["zope.response"].setHeader("X-Title", "a\nb")


def texts(environ):
    """An answer whose body is not made of bytes."""
    return 200, [], ["not bytes"]


def gate(environ, key="secret"):
    """Only those who know the key get any further."""
    if environ.get("HTTP_X_KEY") != key:
        return 403, [("Content-Type", "text/plain")], "closed\n"
    return None


def shield(environ):
    """An exception on its way out is thrown in at the yield, and may be answered."""
    try:
        yield
    except ValueError as error:
        return 418, {"Content-Type": "text/plain"}, f"shielded: {error}"


def watch(environ):
    """Sees exceptions, and lets them pass."""
    try:
        yield
    finally:
        print("watch: left", environ["PATH_INFO"])


def fail(environ):
    raise RuntimeError("this stage always fails")


def broken_answer(environ):
    return "not a tuple"
