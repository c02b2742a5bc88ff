"""The next step that pages and commands name follows from what the project has."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.labels.models import Preference
from apps.policies.models import Endpoint
from apps.projects.models import Role
from apps.samples.next_steps import in_a_line, next_steps

pytestmark = pytest.mark.django_db


def labels(project):
    return [step.label for step in next_steps(project).steps]


def test_from_prompts_to_answers_comparisons_labels_and_a_loop(
    project, other_project, make_prompt, make_completion, make_comparison
):
    assert next_steps(project) is None
    prompt = make_prompt(project)
    assert labels(project)[0] == "Import a model"
    Endpoint.objects.create(project=project, name="served", base_url="https://example.org/v1", model="m")
    assert labels(project) == ["Sample answers"]
    make_completion(prompt, text="one answer")
    assert labels(project) == ["Sample answers"]
    make_completion(prompt, text="another answer")
    assert labels(project) == ["Make comparisons"]
    comparison = make_comparison(project)
    assert labels(project) == ["Annotate", "Ask a judge"]
    Preference.objects.create(comparison=comparison, outcome="tie", source="people", derived_at=timezone.now())
    assert labels(project) == ["Annotate", "Ask a judge"]  # a tie trains nothing
    Preference.objects.update(outcome="first", p_first=1.0)
    found = next_steps(project)
    assert in_a_line(found) == (
        f"Next: 1 comparison has a label. Train on them, or label more. Start a loop: /p/{project.slug}/loops/new/; "
        f"Annotate: /p/{project.slug}/annotate/"
    )
    assert next_steps(other_project) is None


def test_the_data_page_says_it_to_who_can_do_it(project, member, client_for, make_prompt):
    make_prompt(project)
    engineer, lead = member("erin2", Role.ENGINEER), member("lea2", Role.LEAD)
    page = f"/p/{project.slug}/data/"
    assert "Import a model" in client_for(engineer).get(page).content.decode()
    assert "Import a model" not in client_for(lead).get(page).content.decode()
