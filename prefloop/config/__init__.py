"""Typed dotted settings over frozen dataclasses: `objective.beta=0.2`, checked, explained and listed.

The help, the limits and the source of a default are in the field's own metadata (see `setting`). The check, the error
text, `run_recipe NAME --describe` and the web form all read them there.

What can be set: fields declared with `setting`, except those that the part says do not apply (`hidden()`). If a number
has another meaning in each method, the part gives it (`explain(field)`: help, source, limits, choices), and an object
may name the sources of its own defaults (`sources`: key to text). What only the whole object knows about its parts'
keys is in `Whole`: which keys have no meaning, which values are allowed, which keys wait for another. A field that
holds a tuple of dataclasses takes a setting for every member (`draws.n`) or for one (`draws.0.n`); where the members
differ, the keys of each are listed.
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
