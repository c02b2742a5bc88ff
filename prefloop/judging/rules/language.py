"""Detecting the language of a text, offline, by py3langid's naive Bayes model over bytes (Lui & Baldwin 2012).

IFEval uses `langdetect`, which is random and isn't maintained. Only the languages of the table below are distinguished:
the fewer there are, the better a short answer is recognised. A text that can't be recognised (a few characters,
numbers, code) has no language, and passes a check of the language, as in IFEval.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

LANGUAGES = {  # ISO 639-1; the thirty of IFEval first
    "en": "English",
    "es": "Spanish",
    "pt": "Portuguese",
    "ar": "Arabic",
    "hi": "Hindi",
    "fr": "French",
    "ru": "Russian",
    "de": "German",
    "ja": "Japanese",
    "it": "Italian",
    "bn": "Bengali",
    "uk": "Ukrainian",
    "th": "Thai",
    "ur": "Urdu",
    "ta": "Tamil",
    "te": "Telugu",
    "bg": "Bulgarian",
    "ko": "Korean",
    "pl": "Polish",
    "he": "Hebrew",
    "fa": "Persian",
    "vi": "Vietnamese",
    "ne": "Nepali",
    "sw": "Swahili",
    "kn": "Kannada",
    "mr": "Marathi",
    "gu": "Gujarati",
    "pa": "Punjabi",
    "ml": "Malayalam",
    "fi": "Finnish",
    "zh": "Chinese",
    "nl": "Dutch",
    "sv": "Swedish",
    "da": "Danish",
    "no": "Norwegian",
    "cs": "Czech",
    "el": "Greek",
    "tr": "Turkish",
    "hu": "Hungarian",
    "ro": "Romanian",
    "id": "Indonesian",
    "ms": "Malay",
    "sk": "Slovak",
    "sl": "Slovenian",
    "hr": "Croatian",
    "sr": "Serbian",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "et": "Estonian",
    "ca": "Catalan",
    "eu": "Basque",
    "gl": "Galician",
    "af": "Afrikaans",
    "sq": "Albanian",
    "is": "Icelandic",
    "ga": "Irish",
    "cy": "Welsh",
    "tl": "Tagalog",
    "ka": "Georgian",
    "hy": "Armenian",
    "az": "Azerbaijani",
    "kk": "Kazakh",
    "km": "Khmer",
    "my": "Burmese",
    "lo": "Lao",
    "si": "Sinhala",
    "am": "Amharic",
    "mk": "Macedonian",
}
_NO_LANGUAGE = "zxx"  # the model's class for numbers, markup and identifiers
_LEAST_SURE = 0.3
_lock = threading.Lock()


def language_of(text: str) -> str | None:
    """The code of the most likely language of this text; None if it can't be recognised."""
    with _lock:
        found, sure = _model().classify(text)
    return None if found == _NO_LANGUAGE or sure < _LEAST_SURE else str(found)


@lru_cache(maxsize=1)
def _model() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # 100 MB, for those who ask

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    model.set_languages([*LANGUAGES, _NO_LANGUAGE])
    return model
