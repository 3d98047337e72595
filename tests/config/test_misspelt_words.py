"""Misspelt groups, choices and keys are answered with a suggestion before torch is imported."""

from pathlib import Path

from command_lines import (
    GROUPS,
    KEYS,
    QUICK,
    Case,
    command_lines,
    expect_error,
    expect_error_before_torch,
    find_problem,
    misspell,
    misspell_key,
)

from viewfinder.config.overrides import compose_config


@command_lines(
    Case((*QUICK, f"{prefix}{group}={word}"), group, choice)
    for group in GROUPS
    for choice in GROUPS[group]
    for word in misspell(choice)
    for prefix in ("", "+", "++")
)
def test_a_misspelt_choice_says_what_was_meant(case: Case, working_folder: Path) -> None:
    problem = find_problem(expect_error_before_torch(*case.overrides), case.key)
    assert f"Did you mean {case.suggestion}?" in problem.rule
    assert case.suggestion in problem.remedy


@command_lines(
    Case((*QUICK, f"{group}={word}"), group)
    for group in GROUPS
    for word in ("", "5", "true", "[a]", "{a: 1}", "no_such_thing")
)
def test_an_invalid_choice_is_answered_with_the_choices(case: Case, working_folder: Path) -> None:
    problem = find_problem(expect_error_before_torch(*case.overrides), case.key)
    assert problem.received
    assert all(choice in problem.remedy for choice in GROUPS[case.key])


@command_lines(
    Case((f"{prefix}{word}={GROUPS[group][0]}",), group, group)
    for group in GROUPS
    for word in misspell(group)
    for prefix in ("", "+", "++")
)
def test_a_misspelt_group_says_what_was_meant(case: Case, working_folder: Path) -> None:
    problem = find_problem(expect_error_before_torch(*case.overrides), case.overrides[-1])
    assert problem.rule == f"Did you mean {case.suggestion}?"


def test_a_deleted_group_is_answered_with_the_choice_none(working_folder: Path) -> None:
    problem = find_problem(expect_error_before_torch(*QUICK, "~phases"), "~phases")
    assert problem.remedy == "Use phases=none."
    assert not compose_config([*QUICK, "phases=none"]).phases


@command_lines(Case((f"+{group}={choice}",), group) for group in GROUPS for choice in GROUPS[group])
def test_an_existing_group_cannot_be_added(case: Case, working_folder: Path) -> None:
    problem = find_problem(expect_error_before_torch(*case.overrides), case.overrides[-1])
    assert f"{case.key} already exists" in problem.rule
    assert case.overrides[-1].removeprefix("+") in problem.remedy


@command_lines(
    key.case(f"{prefix}{word}=1", key.name)
    for key in KEYS
    for word in misspell_key(key.name)
    for prefix in ("", "+", "++")
)
def test_a_misspelt_key_says_what_was_meant(case: Case, working_folder: Path) -> None:
    problem = find_problem(expect_error_before_torch(*case.overrides), case.overrides[-1])
    assert problem.rule == f"Did you mean {case.suggestion}?"


@command_lines(key.case(f"+{key.name}=1", key.name) for key in KEYS)
def test_an_existing_key_cannot_be_added(case: Case, working_folder: Path) -> None:
    problem = find_problem(expect_error_before_torch(*case.overrides), case.overrides[-1])
    assert f"{case.key} already exists" in problem.rule
    assert f"{case.key}=" in problem.remedy


def test_an_invalid_yaml_file_is_named(working_folder: Path) -> None:
    (working_folder / "conf" / "model").mkdir(parents=True)
    (working_folder / "conf" / "model" / "mine.yaml").write_text("width: [")
    assert "mine.yaml" in str(expect_error_before_torch("model=mine"))


def test_an_unknown_argument_is_answered_with_the_known_ones(working_folder: Path) -> None:
    problem = find_problem(expect_error(*QUICK, "+optimizer.quickness=3"), "optimizer.quickness")
    assert "amsgrad" in problem.remedy
