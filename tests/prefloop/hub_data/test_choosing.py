"""Which files are a split, by the card and by names, in layouts that data sets on hubs have."""

from __future__ import annotations

import pytest

from prefloop.hub_data import NoData, read_address
from prefloop.hub_data.choosing import Chosen, choose

SHARDS = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"]
PREFS = ["data/train_prefs-00000-of-00001.parquet", "data/test_prefs-00000-of-00001.parquet"]
FOLDERS = ["harmless-base/train.jsonl.gz", "harmless-base/test.jsonl.gz", "helpful-base/train.jsonl.gz"]
CARD = {
    "configs": [
        {"config_name": "pairs", "data_files": [{"split": "train", "path": "pairs/*.jsonl"}], "default": True},
        {"config_name": "rated", "data_files": [{"split": "all", "path": ["rated/a.csv", "rated/b.csv"]}]},
        {"config_name": "plain", "data_dir": "plain"},
        {"config_name": "gone", "data_files": "nothing/*.parquet"},
        {"broken": 1},
    ]
}
NAMED = ["pairs/1.jsonl", "pairs/2.jsonl", "pairs/deep/3.jsonl", "rated/a.csv", "rated/b.csv", "plain/dev.json"]


@pytest.mark.parametrize(
    ("files", "card", "words", "config", "split", "found"),
    [
        (SHARDS, {}, [], "default", "train", SHARDS[:2]),
        (SHARDS, {}, ["test"], "default", "test", SHARDS[2:]),
        (PREFS, {}, ["test_prefs"], "default", "test_prefs", PREFS[1:]),
        (["pairs.jsonl", "README.md", "dataset_infos.json"], {}, [], "default", "train", ["pairs.jsonl"]),
        (FOLDERS, {}, ["harmless-base"], "harmless-base", "train", FOLDERS[:1]),
        (FOLDERS, {}, ["harmless-base", "test"], "harmless-base", "test", FOLDERS[1:2]),
        (FOLDERS, {}, ["train"], "default", "train", [FOLDERS[0], FOLDERS[2]]),
        (["x/validation.csv"], {}, [], "default", "validation", ["x/validation.csv"]),
        (NAMED, CARD, [], "pairs", "train", NAMED[:2]),
        (NAMED, CARD, ["rated"], "rated", "all", NAMED[3:5]),
        (NAMED, CARD, ["plain", "validation"], "plain", "validation", ["plain/dev.json"]),
        (NAMED, {"configs": "broken"}, ["plain"], "plain", "validation", ["plain/dev.json"]),
    ],
)
def test_a_split_is_found(files, card, words, config, split, found):
    assert choose(files, card, words) == Chosen(config, split, tuple(sorted(found)))


@pytest.mark.parametrize(
    ("files", "card", "words", "says"),
    [
        (["run.py", "README.md"], {}, [], "there is no table in it"),
        (SHARDS, {}, ["dev"], "there is no 'dev' in it; there are the splits train, test"),
        (NAMED, CARD, ["lost"], "the configurations pairs, rated, plain"),
        (NAMED, CARD, ["lost", "train"], "no configuration 'lost' in it; there are: pairs, rated, plain"),
        (["a-dev.csv", "a-test.csv"], {}, [], "several splits; name one: validation, test"),
        (["a.csv", "b.jsonl"], {}, [], "files of several kinds: a.csv, b.jsonl"),
        (NAMED, {"configs": CARD["configs"][1:]}, [], "several configurations; name one: rated, plain"),
    ],
)
def test_what_there_is_instead_is_said(files, card, words, says):
    with pytest.raises(NoData, match=says):
        choose(files, card, words)


@pytest.mark.parametrize(
    "address", ["acme/pairs", "hf:acme/pairs:", "hf:a/b:c:d:e", "hf:../x", "hf:acme/pairs@", "hf:"]
)
def test_an_address_that_can_not_be_one_is_refused(address):
    with pytest.raises(NoData, match="write hf:ORG/NAME"):
        read_address(address)


def test_an_address_has_a_revision_and_two_words():
    data = read_address(" hf:acme/pairs@refs/convert/parquet:default:train ")
    assert (data.repository, data.revision, data.words) == ("acme/pairs", "refs/convert/parquet", ("default", "train"))
    assert read_address("hf:acme/pairs").address == "hf:acme/pairs@main"
