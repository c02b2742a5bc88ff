"""Reading a body of the API, so that whatever is in it can be stored and answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class BodyParser(JSONParser):
    """JSON without what neither a database nor an answer can hold: half characters, and numbers beyond all limits."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            found = super().parse(stream, media_type, parser_context)
            json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None
        except UnicodeEncodeError:
            raise ParseError("The body has half of a character (a lone surrogate).") from None
        except ValueError:  # 1e999 is read as infinity
            raise ParseError("The body has a number that is too large.") from None
        return found
