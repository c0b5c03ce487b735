# SPDX-License-Identifier: Apache-2.0
"""Makes the wiki's database, with a few pages to begin with. Run before Apache is started."""

import sys

import transaction
import ZODB

from mod_pipeline import storage
from wiki.models import Folder, Page, name_of

# The folder of the storage that the site's address stands for.
ROOT = "wiki"


def prepare(uri):
    """Open the storage and make the wiki if it is not there yet; whether it was made."""
    database = ZODB.DB(storage.open(uri))
    try:
        with database.transaction("the wiki and its first pages") as connection:
            root = connection.root()
            if ROOT in root:
                return False
            root[ROOT] = _wiki()
            return True
    finally:
        database.close()
        transaction.abort()


def _wiki():
    wiki = Folder("Pipeline Wiki")
    wiki.__name__ = ROOT
    _add(wiki, "Home", HOME)
    _add(wiki, "How this works", HOW)
    garden = wiki.add("garden", Folder("Garden"))
    _add(garden, "Ferns", FERNS)
    _add(garden, "Mosses", MOSSES)
    return wiki


def _add(folder, title, text):
    folder.add(name_of(title), Page(title, text, "mod_pipeline"))


HOME = """\
Welcome. This is a small wiki; whatever you write here is an object in a database, and stays there.

Things to try:

- **Edit** this page, or write a new one. A page is linked by its title in double brackets:
  [[How this works]], [[Garden/Ferns]], and [[Something new]], which does not exist yet.
- Open the same page in two windows, change the same line in both, and save both: nothing is lost.
- **Search**, in the field at the top.
- Look at the [server's status](/status) while you do, or read the wiki as [JSON](/api/).
- Follow [a link that fails](/@@broken) to see what an error looks like to a visitor.
"""

HOW = """\
Apache answers for this address with *mod_pipeline*. A request goes through a pipeline of small
stages in a daemon process, which ends at a Python view of this wiki:

1. `open_root` opens the database, and the folder that this site's address stands for;
2. `transaction` begins a transaction, and commits it behind the view;
3. `traverse` follows the names in the address to an object, and finds the view for it;
4. `call` calls the view.

If two people change one object at once, the second transaction cannot be committed. Then the stage
`retry` runs the whole request again, and the edit form of the wiki merges both texts.

| Address | What answers |
|---|---|
| `/` | this wiki, published by the pipeline |
| `/api/` | a Flask application, mounted beside it, on the same database |
| `/static/` | Apache itself |
| `/status` | Apache, out of the scoreboard, without asking any daemon |

> The text of a page is Markdown. HTML in it is shown, not obeyed: <b>like this</b>.

Back to [[Home]].
"""

FERNS = """\
Ferns have neither seeds nor flowers: they spread by **spores**, in small brown heaps below their
leaves.

## In the garden

- Shade, and soil that never dries out.
- Leave the old leaves standing in winter: they shelter the new ones, which begin as a coil.

They like the company of [[Mosses]].
"""

MOSSES = """\
Mosses have no roots. They drink with their leaves, and can lie dry for months until the next rain.

See also [[Ferns]] and [[Lichens]].
"""


if __name__ == "__main__":
    prepare(sys.argv[1])
