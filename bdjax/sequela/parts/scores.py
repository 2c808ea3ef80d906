"""How sure a classifier is of an example: scores that tell members from others.

All are high for members. With p the probabilities and y the label:

- loss: log p_y, minus the cross-entropy (Yeom et al., arXiv 1709.01604). Song
  and Mittal's "confidence" p_y has the same order.
- confidence: log max p; no label needed (Salem et al., arXiv 1806.01246).
- mentropy: minus the log of Song and Mittal's modified entropy ("Systematic
  Evaluation of Privacy Risks of Machine Learning Models", arXiv 2003.10595),

    Mentr = -(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i),

  which, unlike the entropy, is small only if the likely class is the label.
- correctness: 1 if the likeliest class is the label, else 0.

Logs keep the order and hence all attacks' answers. They are there for float32:
a trained model's p rounds to 1 on most of its members, which would make them
ties just where rates at few false alarms are decided. So log p and log(1 - p)
are computed from the logits, and no probability needs clipping; Mentr alone is
kept from 0.
"""

import jax
import jax.numpy as jnp

from bdjax.types import Array, Labels, Logits, Scores


def log_probabilities(logits: Logits) -> tuple[Array, Array]:
  """Returns log p and log(1 - p), [N, classes], precise at p near 0 and 1."""
  top = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=bool)
  largest = logits.max(-1, keepdims=True)
  rest = jnp.where(top, -jnp.inf, logits)
  rest = jax.nn.logsumexp(rest, axis=-1, keepdims=True)
  whole = jnp.logaddexp(rest, largest)
  log_not = rest - whole  # of the likeliest class
  log_p = logits - whole  # of the others, which are at most 1/2
  return (
    jnp.where(top, jnp.log1p(-jnp.exp(log_not)), log_p),
    jnp.where(top, log_not, jnp.log1p(-jnp.exp(log_p))),
  )


def modified_entropy(logits: Logits, label: Labels) -> Array:
  """Returns Mentr(p, y) [N], at least 0; see the module's docstring."""
  log_p, log_not = log_probabilities(logits)
  one_hot = jax.nn.one_hot(label, logits.shape[-1], dtype=bool)
  # -(1 - p) log p at the label, -p log(1 - p) elsewhere.
  terms = jnp.where(one_hot, jnp.exp(log_not) * log_p, jnp.exp(log_p) * log_not)
  return -terms.sum(-1)


def scores(logits: Logits, label: Labels) -> dict[str, Scores]:
  """Returns each score [N] by its name, high for members.

  Args:
    logits: [N, classes], at least two.
    label: [N], those that a member was trained with.
  """
  log_p, _ = log_probabilities(logits)
  tiny = jnp.finfo(log_p.dtype).tiny
  entropy = jnp.maximum(modified_entropy(logits, label), tiny)
  return {
    "loss": jnp.take_along_axis(log_p, label[:, None], axis=-1)[:, 0],
    "confidence": log_p.max(-1),
    "mentropy": -jnp.log(entropy),
    "correctness": (logits.argmax(-1) == label).astype(log_p.dtype),
  }
