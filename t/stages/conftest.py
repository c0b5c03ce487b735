# SPDX-License-Identifier: Apache-2.0
"""A site of folders and notes (t/apps/pipeline) on a real storage, behind a real Apache."""

import sys

import pytest
import transaction
import ZODB

import mod_pipeline.storage
from t.support import environment

APPS = environment.ROOT / "t" / "apps" / "pipeline"

GROUP = (
    "PipelineDaemonProcess site processes=1 threads={threads} python-home=@VENV@"
    " python-path=@TREE@/t/apps/pipeline{python_path}\n"
    "PipelineStorage main sqlite://@DATABASE@\n"
)

HOSTS = (
    "PipelineProcessGroup site\n"
    "PipelineZCML @TREE@/t/apps/pipeline/site.zcml\n"
    "PipelineRoot / main:/one\n"
    "PipelineRoot /under/here main:/one\n"
    "<VirtualHost *:@PORT@>\nServerName one.example\n</VirtualHost>\n"
    "<VirtualHost *:@PORT@>\nServerName two.example\nPipelineRoot / main:/two\n</VirtualHost>\n"
    "<VirtualHost *:@PORT@>\nServerName lost.example\nPipelineRoot / main:/lost\n</VirtualHost>\n"
)


def give_away(folder):
    """Everything below a folder belongs to the server's user from now on."""
    for path in [folder, *folder.rglob("*")]:
        environment.give_to_server(path)


@pytest.fixture
def database(shared_folder):
    """The path of a database with the folders /one and /two."""
    sys.path.insert(0, str(APPS))
    try:
        import notes
    finally:
        sys.path.remove(str(APPS))
    path = shared_folder / "main"
    database = ZODB.DB(mod_pipeline.storage.open(f"sqlite://{path}"))
    with database.transaction() as connection:
        notes.fill(connection.root(), "one", "two")
    database.close()
    transaction.abort()
    give_away(shared_folder)
    return path


@pytest.fixture
def site(apache, database):
    """A factory: `site(extra directives)` is a server with the hosts one, two and lost."""

    def factory(extra="", *, threads=2, python_path="", **options):
        group = GROUP.format(threads=threads, python_path=python_path)
        text = group + HOSTS.replace("<VirtualHost", f"{extra}\n<VirtualHost", 1)
        return apache(text.replace("@DATABASE@", str(database)), **options)

    return factory
