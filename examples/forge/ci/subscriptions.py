"""What CI hears."""

from forge.ci.subscribers import create_pipeline
from forge.git.events import CommitsPushed
from whereupon import subscribe

subscriptions = [
    subscribe(create_pipeline, to=CommitsPushed),
]
