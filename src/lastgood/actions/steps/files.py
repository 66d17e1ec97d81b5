"""Configuration: placed beside the old one, then switched."""

from __future__ import annotations

from lastgood.actions.abilities import files_of, release_name
from lastgood.actions.steps.tools import Handler, base_at, release_at
from lastgood.engine.handlers import Result, StepContext


class PlaceFiles(Handler):
    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        places = files_of(self.tools.drivers, release)
        if places is None:
            return {}
        directory = places.place(release_name(release), release.files)
        return {"directory": str(directory), "files": len(release.files)}


class SwitchFiles(Handler):
    def run(self, context: StepContext) -> Result:
        release, base = release_at(context), base_at(context)
        places = files_of(self.tools.drivers, release)
        if places is None:
            # Back to a state that had no files of ours: the link goes, the directories stay.
            old = files_of(self.tools.drivers, base) if base else None
            if old is not None:
                old.switch("")
            return {"current": ""}
        if release.origin == "baseline" and not release.files:
            places.switch("")
            return {"current": ""}
        name = release_name(release)
        places.place(name, release.files)
        places.switch(name)
        return {"current": name}
