#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Every option that the contract lists for a command stands in that command's --help, with its default; and the
help of every command fits a terminal.

Owns: which options are promised but not built yet. Must not know: what they do.

EA_SHARED	the folder that has CONTRACT.md (default: ../shared beside the repository)
EGRESS_AGENT	the binary (default: build/egress-agent)
"""
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True  # the import leaves no __pycache__ behind

# pylint: disable=wrong-import-position
from validate_crds import BINARY, SHARED, Tap

COMMANDS = ["run", "dump", "generate", "check", "version"]
# Listed in the contract, not built yet. An option that appears must leave this list.
LATER = {}
# "the selection options of dump": generate has a --visibility and a --scope of its own.
SELECTION = {"--agent", "--namespace", "--workload", "--host", "--registry"}
EVERY = {"--help", "--config"}


def help_of(command):
    run = subprocess.run([BINARY, command, "--help"], capture_output=True, text=True, timeout=60, check=False,
                         env={"PATH": os.environ.get("PATH", "")})
    return run.stdout if run.returncode == 0 and not run.stderr else ""


def options_of(text):
    """{name: the rest of its entry in the help text, as one line}"""
    entries = re.split(r"^ +(?:-\w, )?(--[a-z-]+)", text.split("Options:\n")[-1].split("\n\n")[0], flags=re.MULTILINE)
    return {name: " ".join(rest.split()) for name, rest in zip(entries[1::2], entries[2::2])}


def promised(contract):
    """{command: {option: default or None}} from the table of section 2."""
    table = {}
    for line in contract.splitlines():
        row = re.fullmatch(r"\| (\w+) \| (.*) \|", line)
        if row and row[1] in COMMANDS:
            cell = row[2].replace("\\|", "|")
            found = re.findall(r"`(?:-\w[ /])?(--[a-z-]+)[^`]*`(?: \((?:default: )?`?([\w:./-]+)`?\))?", cell)
            table[row[1]] = {name: default if default != "default" else None for name, default in found}
    # Section 5 names three more.
    for names in re.findall(r"`((?:--[a-z-]+ ?)+)`\)", contract.split("\n## 5.")[-1].split("\n## ")[0]):
        table["run"].update(dict.fromkeys(names.split()))
    return table


def check_command(tap, command, wanted):
    options = options_of(help_of(command))
    wanted = {**wanted, **{name: None for name in EVERY}}
    later = LATER.get(command, set())
    missing = sorted(name for name in wanted if name not in options and name not in later)
    built = sorted(later & set(options))
    defaults = [f"{name} has not default {default}: {options[name]}" for name, default in wanted.items()
                if default and name in options and f"(default: {default})" not in options[name]]
    if missing or built or defaults:
        tap.not_ok(f"{command} --help has what the contract lists",
                   f"missing: {missing}; built, but listed as later: {built}; {'; '.join(defaults)}")
    else:
        tap.ok(f"{command} --help has what the contract lists: {len(wanted) - len(later & set(wanted))} options")


def check_width(tap):
    for command in COMMANDS:
        text = help_of(command)
        long = [line for line in text.splitlines() if len(line) > 80]
        if not text or long:
            tap.not_ok(f"{command} --help fits 80 columns", long or "it failed")
        else:
            tap.ok(f"{command} --help fits 80 columns")


def main():
    tap = Tap()
    if not os.access(BINARY, os.X_OK):
        tap.not_ok("options", f"{BINARY} is not there; make builds it")
        return 1
    check_width(tap)
    contract = SHARED / "CONTRACT.md"
    if not contract.exists():
        tap.skip("options against the contract", f"no CONTRACT.md in {SHARED}; set EA_SHARED")
        return int(tap.failed)
    table = promised(contract.read_text())
    if not {"run", "dump", "generate"} <= set(table) or len(table["generate"]) < 9:
        tap.not_ok("options against the contract", f"the table was not understood: {table}")
        return 1
    table["generate"].update(dict.fromkeys(SELECTION))
    for command in COMMANDS:
        check_command(tap, command, table.get(command, {}))
    return int(tap.failed)


if __name__ == "__main__":
    sys.exit(main())
