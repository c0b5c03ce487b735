#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Asks apxs, pkg-config and Debian's Python for their flags, once, and prints them as make
# variables. $1 is the Python to build for.
#
# Vendor headers are passed by -isystem: the strict warnings are for our own code.
set -eu

python=$1
config=$python-config

as_system() {
    sed -E 's,(^| )-I,\1-isystem ,g; s,-isystem /usr/include( |$),,g'
}

python_query() {
    "$python" -c "import sysconfig; print($1)"
}

apr_packages='apr-1 apr-util-1'

cat <<VARIABLES
PYTHON_VERSION := $(python_query 'sysconfig.get_python_version()')
PYTHON_CFLAGS := -isystem $(python_query 'sysconfig.get_path("include")')
PYTHON_LDLIBS := $("$config" --embed --ldflags)
PYTHON_SUFFIX := $(python_query 'sysconfig.get_config_var("EXT_SUFFIX")')
HTTPD_CFLAGS := -isystem $(apxs -q INCLUDEDIR)
HTTPD_LIBEXECDIR := $(apxs -q LIBEXECDIR)
APR_CFLAGS := $(pkg-config --cflags $apr_packages | as_system)
APR_LDLIBS := $(pkg-config --variable=libdir apr-1 | sed 's,^,-L,') -lapr-1 -laprutil-1
SQLITE_CFLAGS := $(pkg-config --cflags sqlite3 | as_system)
SQLITE_LDLIBS := $(pkg-config --libs sqlite3)
VARIABLES
