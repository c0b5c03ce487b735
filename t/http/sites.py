# SPDX-License-Identifier: Apache-2.0
"""The site that tests of processes, faults and bodies share: t/apps/processes/steps.py at /app."""

HEALTH = """
<Location /ready>
    SetHandler pipeline-ready
</Location>
<Location /status>
    SetHandler pipeline-status
</Location>
"""


def steps(options="processes=4 threads=1", path="", target="steps:application"):
    """Directives of the site. options: of its process group; path: folders before the usual one."""
    return (
        f"PipelineDaemonProcess site {options} python-path={path}@TREE@/t/apps/processes\n"
        f"PipelineProcessGroup site\nPipelineScriptAlias /app {target}\n{HEALTH}"
    )
