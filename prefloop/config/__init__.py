"""Typed dotted settings over frozen dataclasses: `objective.beta=0.2`, checked, explained and listed.

The help, the limits and the source of a default live in the field's own metadata (see `setting`), so that one place
feeds the check, the error text, `run_recipe NAME --describe` and the web form.

What may be set: fields declared with `setting`, less those that the part says do not apply to it (`hidden()`). Where a
number means something else to each method, the part says what (`explain(field)`: help, source, limits, choices), and an
object may name the sources of its own defaults (`sources`: key to text). What only the whole object can know, it says
of its parts' keys (`Whole`): which mean nothing in it, which values do, what waits for another key.
A field that holds a tuple of dataclasses takes a setting for every member (`draws.n`) or for one (`draws.0.n`); where
the members differ, the keys of each are listed.
"""

from prefloop.config.fields import ConfigError, SettingSpec, Value, check_fields, setting
from prefloop.config.keys import KeyInfo, Whole, apply_settings, describe

__all__ = [
    "ConfigError",
    "KeyInfo",
    "SettingSpec",
    "Value",
    "Whole",
    "apply_settings",
    "check_fields",
    "describe",
    "setting",
]
