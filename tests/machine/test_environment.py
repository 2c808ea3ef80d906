import json

import jax

from bdjax.machine import environment


def test_describe_names_the_machine():
  about = environment.describe()
  assert about["device"] == jax.devices()[0].device_kind
  assert about["platform"] == jax.default_backend()
  assert about["devices"] == jax.device_count()
  assert about["version_jax"] == jax.__version__
  assert about["host_cores"] > 0
  assert json.loads(json.dumps(about)) == about
  assert not [k for k, v in about.items() if isinstance(v, dict | list)]
