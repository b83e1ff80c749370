"""python -m enhance VERB: mix, train, search, denoise, stream, score, compare, import, models, pack-clean, ..."""

from __future__ import annotations

import sys

from enhance.pipe_client import client_asked, run_client

if __name__ == "__main__" and (place := client_asked(sys.argv[1:])) is not None:
    run_client(place)  # before the imports below, which take longer than its work

from enhance import verbs_data, verbs_judge, verbs_models, verbs_pipe, verbs_search, verbs_stream, verbs_train
from harness.cli import app_for, run

app = app_for("enhance", "Noisy speech to clean speech: mix, train, denoise, score.")
app.command()(verbs_data.mix)
app.command()(verbs_train.train)
app.command()(verbs_search.search)
app.command()(verbs_data.denoise)
app.command()(verbs_stream.stream)
app.command()(verbs_pipe.pipe)
app.command()(verbs_pipe.serve)
app.command()(verbs_data.score)
app.command()(verbs_data.compare)
app.command()(verbs_data.statistics)
app.command()(verbs_judge.gate)
app.command()(verbs_judge.profile)
app.command()(verbs_models.models)
app.command("pack-clean")(verbs_train.pack_clean)
app.command("import")(verbs_models.import_weights)
app.command()(verbs_models.export)
app.command("export-builtin")(verbs_train.export_builtin)

if __name__ == "__main__":
    run(app)
