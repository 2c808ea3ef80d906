"""What cannot be shown ends in a sentence, whatever the records hold."""

from bdjax import launch, report


def test_a_record_that_cannot_be_shown_is_a_sentence(
  tmp_path, monkeypatch, capsys
):
  def show(found, console):
    raise KeyError("area")

  monkeypatch.setattr(report, "load", lambda folder: None)
  monkeypatch.setattr(report, "show", show)
  assert launch.main(["launch", "report", str(tmp_path)]) == 2
  said = capsys.readouterr().err
  assert said.count("\n") == 1 and f"error: {tmp_path}: some record" in said
  assert "(KeyError: 'area'); mend or delete it." in said
