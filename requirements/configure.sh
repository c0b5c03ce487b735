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

# Asked by assignments, since a question that fails in the text below would not end the script.
python_version=$(python_query 'sysconfig.get_python_version()')
python_include=$(python_query 'sysconfig.get_path("include")')
python_suffix=$(python_query 'sysconfig.get_config_var("EXT_SUFFIX")')
python_libraries=$("$config" --embed --ldflags)
httpd_include=$(apxs -q INCLUDEDIR)
httpd_modules=$(apxs -q LIBEXECDIR)
apr_flags=$(pkg-config --cflags apr-1 apr-util-1)
apr_folder=$(pkg-config --variable=libdir apr-1)
sqlite_flags=$(pkg-config --cflags sqlite3)
sqlite_libraries=$(pkg-config --libs sqlite3)

cat <<VARIABLES
PYTHON_VERSION := $python_version
PYTHON_CFLAGS := -isystem $python_include
PYTHON_LDLIBS := $python_libraries
PYTHON_SUFFIX := $python_suffix
HTTPD_CFLAGS := -isystem $httpd_include
HTTPD_LIBEXECDIR := $httpd_modules
APR_CFLAGS := $(echo "$apr_flags" | as_system)
APR_LDLIBS := -L$apr_folder -lapr-1 -laprutil-1
SQLITE_CFLAGS := $(echo "$sqlite_flags" | as_system)
SQLITE_LDLIBS := $sqlite_libraries
VARIABLES
