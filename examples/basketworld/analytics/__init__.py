"""What the policies of a training run are worth, and how they play.

    python -m holdfast_examples.basketworld.analytics elo --run ID

Every command reads the checkpoints of one training run, plays games between them in several processes, and keeps
tables and pictures with a child run. The training run is only read.
"""
