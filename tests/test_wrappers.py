"""The wrappers of launch/: they are sound shell, and say what they would do."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from bdjax.cli import program
from bdjax.machine import preemption

TOP = Path(__file__).parent.parent
WRAPPERS = sorted((TOP / "launch").glob("*.sh"))
SLURM = [p for p in WRAPPERS if "slurm" in p.stem]
JOBSET = TOP / "launch" / "gke_jobset.sh"
AWKWARD = "/scratch/my lab/it's $run"


def dry(path, *flags, **environ):
  done = subprocess.run(
    ["bash", path, *flags, "--dry-run"],
    capture_output=True,
    text=True,
    check=True,
    env=os.environ | environ,
  )
  assert done.stderr == ""
  return done.stdout


def launched(said):
  """Returns the words that the launcher gets, as a shell reads them."""
  if "kind: JobSet" in said:
    return pods(said)["containers"][0]["args"]
  (line,) = (li for li in said.splitlines() if "-m bdjax.launch" in li)
  words = shlex.split(line.partition("||")[0])
  if len(words[-1].split()) > 1 and "bdjax.launch" in words[-1]:
    words = shlex.split(words[-1])  # one word, for a shell elsewhere
  return words[words.index("bdjax.launch") + 1 :]


def pods(said):
  """Returns what a JobSet says of its pods."""
  (job,) = yaml.safe_load(said)["spec"]["replicatedJobs"]
  return job["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", WRAPPERS, ids=lambda p: p.stem)
def test_shellcheck_finds_nothing(path):
  if not shutil.which("shellcheck"):
    pytest.skip("shellcheck is not installed")
  done = subprocess.run(
    ["shellcheck", path], capture_output=True, text=True, check=False
  )
  assert done.stdout == "" and done.returncode == 0


def check(words):
  """Checks that words are a config that is there, and flags of the program."""
  words = words[words.index("bdjax.launch") + 1 :] if "-m" in words else words
  words = [word.replace("$(JOB_COMPLETION_INDEX)", "0") for word in words]
  given = program.parse(words, "bdjax")
  assert given.does == "run" and given.workdir
  assert (TOP / given.config).exists()


@pytest.mark.parametrize("path", WRAPPERS, ids=lambda p: p.stem)
def test_a_dry_run_shows_a_command_that_bdjax_takes(path):
  check(launched(dry(path)))


@pytest.mark.parametrize("path", WRAPPERS, ids=lambda p: p.stem)
def test_flags_go_to_the_launcher_after_the_config(path):
  more = ["--config.seeds=(0, 1)", "--config.attack.name=it's", "--store=$HOME"]
  words = launched(dry(path, *more))
  assert words[-3:] == more


@pytest.mark.parametrize("path", WRAPPERS, ids=lambda p: p.stem)
def test_a_workdir_may_hold_what_a_shell_would_read(path, tmp_path):
  text = re.sub(
    r"\bWORKDIR=\S+", f"WORKDIR={shlex.quote(AWKWARD)}", path.read_text()
  )
  copy = tmp_path / path.name
  copy.write_text(text)
  words = " ".join(launched(dry(copy)))
  assert f"--workdir {AWKWARD}" in words.replace("--workdir=", "--workdir ")


@pytest.mark.parametrize("path", SLURM, ids=lambda p: p.stem)
def test_slurm_jobs_are_scripts_with_options_first(path):
  said = dry(path)
  lines = said.splitlines()
  assert lines[0] == "#!/bin/bash"
  assert all(line.startswith("#SBATCH ") for line in lines[1:4])
  assert not any(line.startswith("#SBATCH") for line in lines[4:])
  checked = subprocess.run(
    ["bash", "-n"], input=said, text=True, capture_output=True, check=True
  )
  assert checked.stderr == ""


@pytest.mark.parametrize("path", SLURM, ids=lambda p: p.stem)
def test_slurm_logs_lie_in_a_workdir_with_a_space(path, tmp_path):
  copy = tmp_path / path.name
  text = path.read_text()
  copy.write_text(re.sub(r"\bWORKDIR=\S+", 'WORKDIR="/my lab/a"', text))
  (line,) = (li for li in dry(copy).splitlines() if "--output" in li)
  assert shlex.split(line)[1].startswith("--output=/my lab/a/slurm-")


@pytest.mark.parametrize("path", SLURM, ids=lambda p: p.stem)
@pytest.mark.parametrize("status", [0, 2, preemption.STATUS])
def test_slurm_jobs_that_are_told_to_stop_queue_again(path, status, tmp_path):
  for name, code in {
    "srun": f"exit {status}",
    "uv": "",
    "scontrol": "",
  }.items():
    tool = tmp_path / name
    tool.write_text(
      f'#!/bin/bash\necho "{name} $*" >>{tmp_path}/said\n{code}\n'
    )
    tool.chmod(0o755)
  done = subprocess.run(
    ["bash"],
    input=dry(path),
    text=True,
    env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"},
  )
  assert done.returncode == status
  again = "scontrol requeue 7" in (tmp_path / "said").read_text().splitlines()
  assert again == (status == preemption.STATUS)


def test_shares_of_an_array_are_all_there():
  said = dry(TOP / "launch" / "slurm_array.sh")
  last = int(re.search(r"--array=0-(\d+)", said).group(1))
  assert f"--shard=$SLURM_ARRAY_TASK_ID/{last + 1}" in said


def test_a_jobset_of_gpus_is_yaml_whose_pods_meet():
  made = yaml.safe_load(dry(JOBSET, ON="gpu"))
  (job,) = made["spec"]["replicatedJobs"]
  spec = job["template"]["spec"]
  (container,) = spec["template"]["spec"]["containers"]
  assert f"--processes={spec['parallelism']}" in container["args"]
  name = f"{made['metadata']['name']}-{job['name']}-0-0"
  where = f"--coordinator={name}.{made['metadata']['name']}:1234"
  assert where in container["args"]
  assert "--process_id=$(JOB_COMPLETION_INDEX)" in container["args"]
  assert spec["completions"] == spec["parallelism"]
  assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}


def test_a_jobset_of_tpus_asks_for_a_slice_and_leaves_meeting_to_gke():
  said = dry(JOBSET, ON="tpu")
  check(launched(said))
  spec = pods(said)
  asked = spec["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
  (container,) = spec["containers"]
  chips = container["resources"]["limits"]["google.com/tpu"]
  (job,) = yaml.safe_load(said)["spec"]["replicatedJobs"]
  rows, columns = map(int, asked.split("x"))
  assert job["template"]["spec"]["parallelism"] * chips == rows * columns
  assert not any("coordinator" in word for word in container["args"])


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_a_jobset_is_queued_and_restarts_when_it_is_told_to_stop(kind):
  made = yaml.safe_load(dry(JOBSET, ON=kind))
  assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
  (job,) = made["spec"]["replicatedJobs"]
  told, _ = job["template"]["spec"]["podFailurePolicy"]["rules"]
  assert told["action"] == "FailJob"
  assert told["onExitCodes"]["values"] == [preemption.STATUS]
  (rule,) = made["spec"]["failurePolicy"]["rules"]
  assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
  assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"


def test_another_kind_of_jobset_is_refused():
  done = subprocess.run(
    ["bash", JOBSET, "--dry-run"],
    capture_output=True,
    text=True,
    env=os.environ | {"ON": "npu"},
  )
  assert done.returncode == 2 and not done.stdout
  assert done.stderr == "ON is 'npu', but must be gpu or tpu.\n"


def test_a_pod_gets_what_git_knows_and_a_script(tmp_path):
  said = dry(TOP / "launch" / "tpu_pod.sh")
  pack, ask, _, script = said.split("\n", 3)
  assert "--spot" in shlex.split(ask)
  files = subprocess.run(
    ["bash", "-c", pack.split("|")[0]],
    cwd=TOP,
    capture_output=True,
    text=True,
    check=True,
  ).stdout.split("\0")
  assert "bdjax/launch.py" in files
  assert not any(f.startswith((".venv", ".git/", "runs/")) for f in files)
  (tmp_path / "script.sh").write_text(script)
  done = subprocess.run(
    ["shellcheck", tmp_path / "script.sh"], capture_output=True, text=True
  )
  assert done.stdout == "" and done.returncode == 0


@pytest.mark.parametrize("nodes", [1, 2])
def test_skypilot_runs_what_bdjax_takes_and_starts_it_again(nodes, tmp_path):
  made = yaml.safe_load((TOP / "launch" / "skypilot.yaml").read_text())
  recovery = made["resources"]["job_recovery"]
  assert recovery["recover_on_exit_codes"] == [preemption.STATUS]
  python = tmp_path / ".venv" / "bin" / "python"
  python.parent.mkdir(parents=True)
  python.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
  python.chmod(0o755)
  told = made["envs"] | {
    "FLAGS": "--config.seeds=(0,1) --store=models",
    "SKYPILOT_NUM_NODES": str(nodes),
    "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
    "SKYPILOT_NODE_RANK": "1",
  }
  done = subprocess.run(
    ["bash", "-eu", "-c", made["run"]],
    cwd=tmp_path,
    env=os.environ | told,
    capture_output=True,
    text=True,
    check=True,
  )
  words = done.stdout.splitlines()
  check(words)
  assert words[-2:] == ["--config.seeds=(0,1)", "--store=models"]
  meet = ["--coordinator=10.0.0.1:1234", "--processes=2", "--process_id=1"]
  assert [w for w in words if w in meet] == (meet if nodes > 1 else [])


def test_who_writes_into_a_bucket_installs_what_it_takes():
  texts = {path.name: path.read_text() for path in TOP.glob("launch/*")}
  buckets = {name for name, text in texts.items() if "gs://" in text}
  assert buckets == {"skypilot.yaml", "tpu_pod.sh", "xpk.sh"}
  assert all("--extra gcs" in texts[name] for name in buckets)
