"""Why a backdoor was removed, or was not: a finished run's models, looked into.

`command` reads what is asked of which run; `cases` brings the models; `tac`,
`line`, `surface` and `features` look at them; `parts` and `outputs` keep what
they see. The report draws it.
"""
