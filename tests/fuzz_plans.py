"""Gives random configs to the planner: each makes a plan or gets one sentence.

    python tests/fuzz_plans.py --seconds 600

Every key of a config and every argument of every method gets values of all
kinds, most of them wrong. Anything but a plan or a ValueError of one line is
printed with the changes that led to it, and so is what takes long.
"""

import argparse
import importlib.util
import random
import sys
import time
import traceback
from pathlib import Path

from bdjax import data
from bdjax.methods import registry, signature
from bdjax.runs import keys, settings
from bdjax.training import regimes

HERE = Path(__file__).parent
SLOW = 20.0  # seconds of a processor after which a config is printed
NUMBERS = (
  *(0, 1, -1, 2, 3, 7, 16, 100, 2**31, 2**32, 2**64, 10**50),
  *(0.0, 0.5, 1.0, -0.5, 1e-3, 0.05, 1e-300, 1e300, 1e-45, 3.3e38),
  *(float("inf"), float("-inf"), float("nan")),
)
OTHERS = (
  *(None, True, False, "", "no", "none", "ft", "a b", "\0", "(" * 300, b"x"),
  *((), [], {}, (1, 2), (0, 0), [0.1], {"a": 1}, {1}, object, 1j, ((1,), 2)),
)
KINDS = {"attack": "attacks", "defense": "defenses", "sequela": "sequela"}
TEXTS = (
  *("{}", "{},{}", "'{}'", "[{}]", "({}", "{}(", "{}.", "{}()()", "**{}"),
  *("{}(1)", "{}.bb", "{}.nope", "{}(nope=1)", "{} {}", "{}(a=1,a=2)"),
)
DEEP = ("ft(lr=" + "-" * 5000 + "1)", "ft(lr=1" + "+1j" * 3000 + ")", "(" * 500)


def small_config():
  """Returns the tests' small config."""
  where = importlib.util.spec_from_file_location("small", HERE / "conftest.py")
  module = importlib.util.module_from_spec(where)
  where.loader.exec_module(module)
  return module.small_config()


def value(rng):
  """Returns a value of any kind."""
  return rng.choice(NUMBERS if rng.random() < 0.6 else OTHERS)


def spec(rng, kind):
  """Returns the text of a method, mostly of a known one, with arguments."""
  if kind == "regimes":
    name = rng.choice(sorted(regimes.REGIMES))
    make, presets = regimes.REGIMES[name], {}
  else:
    name = rng.choice(registry.names(kind))
    make, presets = registry.get(kind, name), registry.presets(kind, name)
  preset = (
    f".{rng.choice(sorted(presets))}" if presets and rng.random() < 0.2 else ""
  )
  known = [*signature.arguments(make), "clean_rate", "balanced"]
  chosen = rng.sample(known, min(len(known), rng.choice((0, 0, 1, 1, 2))))
  given = ", ".join(f"{k}={value(rng)!r}" for k in chosen)
  text = f"{name}{preset}({given})" if given else f"{name}{preset}"
  if rng.random() < 0.1:
    text = rng.choice(TEXTS).replace("{}", text)
  return rng.choice(DEEP) if rng.random() < 0.02 else text


def changes(rng):
  """Returns a few changes of a config: dotted key -> value."""
  made = {}
  for _ in range(rng.choice((1, 1, 1, 2, 3))):
    draw = rng.random()
    if draw < 0.5:
      section = rng.choice(("attack", "defense", "regime", "model", "sequela"))
      kind = KINDS.get(section, f"{section}s")
      made[f"{section}.name"] = spec(rng, kind)
    elif draw < 0.9:
      section = rng.choice((*keys.SECTIONS, *keys.METHODS))
      known = (keys.SECTIONS | keys.METHODS)[section]
      made[f"{section}.{rng.choice((*known, 'rate', 'target'))}"] = value(rng)
    elif draw < 0.95:
      axis = rng.choice(("lr", "rate", "batch_size", "size", "clean_rate", "x"))
      values = tuple(value(rng) for _ in range(rng.choice((0, 1, 2))))
      made["sweep.axes"] = f"{axis}={values!r}"
    else:
      made[rng.choice((*keys.TOP, "typo"))] = value(rng)
  return made


def config(made):
  """Returns the small config with changes."""
  whole = small_config() | {"sequela": {"name": ""}}
  for key, new in made.items():
    section, _, name = key.partition(".")
    if not name:
      whole[section] = new
    elif isinstance(whole.get(section), dict):
      whole[section] = whole[section] | {name: new}
  return whole


def judge(made):
  """Returns what is wrong with how the planner takes changes, or None."""
  try:
    plan = settings.plan(config(made))
  except ValueError as error:
    text = str(error)
    if "\n" in text or not text or len(text) > 1000:
      return f"no sentence: {text!r}"
    return None
  except BaseException:
    return traceback.format_exc()
  return None if plan.attacks else "a plan of nothing"


def remember():
  """Has datasets loaded once: only their planning is of interest."""
  load, known = data.load, {}

  def once(*args, **named):
    place = repr((args, sorted(named.items())))
    if place not in known:
      known[place] = load(*args, **named)
    return known[place]

  data.load = once


def main():
  """Judges random configs until the time is over."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--seconds", type=float, default=60)
  parser.add_argument("--seed", type=int, default=0)
  given = parser.parse_args()
  rng, end = random.Random(given.seed), time.monotonic() + given.seconds
  remember()
  count = bad = 0
  while time.monotonic() < end:
    made, start = changes(rng), time.process_time()
    wrong, count = judge(made), count + 1
    spent = time.process_time() - start
    if spent > SLOW:
      wrong = wrong or f"{spent:.0f} s"
    if wrong:
      bad += 1
      print(f"{made}\n{wrong}\n", flush=True)
  print(f"{count} configs, {bad} of them badly taken")
  return bool(bad)


if __name__ == "__main__":
  sys.exit(main())
