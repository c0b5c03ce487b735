# SPDX-License-Identifier: Apache-2.0
"""The example site: a small wiki of folders and pages, published by the pipeline.

`models` is what is stored, `merge` reconciles two edits, `markup` turns text into HTML, `views` are
the pages that configure.zcml registers, and `site` makes the database.
"""
