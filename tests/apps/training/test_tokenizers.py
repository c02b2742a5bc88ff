"""Two tokenizers in one project, and conversations: what a training set holds of answers and prompts."""

from __future__ import annotations

import json

from apps.policies.store import store_path
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.training.sets.snapshots import LabelledComparison, demonstrations, training_pairs


def write_tokenizer(checkpoint, vocabulary):
    folder = store_path(checkpoint.path)
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))


def answers(project, prompt, checkpoint, *texts):
    run = SamplingRun.objects.create(project=project, checkpoint=checkpoint, n=len(texts)) if checkpoint else None
    return [
        Completion.objects.create(project=project, prompt=prompt, run=run, index=at, text=text, token_ids=[at, 7])
        for at, text in enumerate(texts)
    ]


def test_ids_of_another_tokenizer_are_left_out_and_the_text_stays(loop_project, make_checkpoint):
    start = loop_project.checkpoints.get(name="start")
    child, stranger = (make_checkpoint(loop_project, name) for name in ("child", "stranger"))
    for checkpoint, vocabulary in ((start, {"a": 0}), (child, {"a": 0}), (stranger, {"b": 0})):
        write_tokenizer(checkpoint, vocabulary)
    prompt = loop_project.prompts.get(external_id="t0")
    mine = answers(loop_project, prompt, child, "Thanks.", "Thank you.")
    theirs = answers(loop_project, prompt, stranger, "Cheers.")
    imported = answers(loop_project, prompt, None, "Ta.")
    labels = [
        LabelledComparison(
            Comparison.objects.create(project=loop_project, prompt=prompt, first=mine[0], second=other).pk, 1.0, "human"
        )
        for other in (mine[1], theirs[0], imported[0])
    ]
    rows = training_pairs(labels, start)
    assert [(row.first_ids, row.second_ids) for row in rows] == [((0, 7), (1, 7)), ((0, 7), ()), ((0, 7), ())]
    assert [row.second for row in rows] == ["Thank you.", "Cheers.", "Ta."]
    # for the stranger it is the other way round
    assert [(row.first_ids, row.second_ids) for row in training_pairs(labels, stranger)] == [
        ((), ()),
        ((), (0, 7)),
        ((), ()),
    ]


def test_a_conversation_goes_into_the_training_set_as_its_messages(loop_project):
    start = loop_project.checkpoints.get(name="start")
    talk, plain = (loop_project.prompts.get(external_id=name) for name in ("t1", "t2"))
    talk.messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": talk.text}]
    talk.save(update_fields=["messages"])
    labels = []
    for prompt in (talk, plain):
        one, two = answers(loop_project, prompt, None, "Thanks.", "No.")
        pair = Comparison.objects.create(project=loop_project, prompt=prompt, first=one, second=two)
        labels.append(LabelledComparison(pair.pk, 1.0, "human"))
    assert [row.prompt for row in training_pairs(labels, start)] == [tuple(talk.messages), plain.text]
    assert demonstrations(labels, start)[0].prompt == tuple(talk.messages)
