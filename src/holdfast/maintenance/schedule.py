"""A clean-up that runs by itself: a line for cron, and a CronJob for Kubernetes, as text.

Both run the command that they were made from, with all of its options and without asking. Neither holds a secret: what
a password stands in belongs into the environment, `.env`, or the Secret that the CronJob names.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from holdfast.core.uris import holds_password, mask_uri
from holdfast.errors import InvalidInputError

WHEN = "17 3 * * *"
_MOST_CHARACTERS = 900  # a crontab's line ends at 998 with some crons


def cron_line(program: Sequence[str], folder: str, arguments: Sequence[str], when: str = WHEN) -> str:
    """Return the line of a crontab; without a line feed.

    Args:
        program: What `holdfast` is on this machine: cron's PATH is short.
        folder: Where it is to run: the project's.
        arguments: Of `holdfast`; options with their values behind an equals sign.
        when: The five fields.

    Raises:
        InvalidInputError: Something has a secret in it, or a character that no crontab can hold, or all of it is too
            long for one.
    """
    for text in (folder, *program, *arguments):
        _check(text)
    line = f"{when} cd {_for_cron([folder])} && {_for_cron([*program, *arguments])}"
    if len(line) > _MOST_CHARACTERS:
        raise InvalidInputError(
            f"The line has {len(line)} characters, and crontabs end at {_MOST_CHARACTERS}.",
            "put the command into a script, or name fewer experiments and runs",
        )
    return line


def _for_cron(words: Sequence[str]) -> str:
    # A percent sign ends the command. Crons differ in what two backslashes mean to them, and in a backslash before a
    # percent sign: one by itself means the same to all, so each is printed by the shell.
    joined = "\0".join(shlex.quote(word) for word in words)
    return joined.replace("\\", "'\"$(printf '\\134')\"'").replace("%", "\\%").replace("\0", " ")


def kubernetes_cronjob(arguments: Sequence[str], when: str = WHEN, name: str = "holdfast-gc") -> str:
    """Return a CronJob, and the claim of the volume that keeps its journal, as YAML documents.

    The image is left to be filled in. Only ASCII is written, so that nothing depends on how it is read.

    Args:
        arguments: As of `cron_line`.
        when: The five fields, in the cluster's time zone.
        name: Of the CronJob, the Secret and the claim.

    Raises:
        InvalidInputError: Something has a secret in it, or a character that no text can hold.
    """
    for text in arguments:
        _check(text)
    # Kubernetes expands $(NAME) in arguments; two dollar signs are one.
    listed = "".join(f"\n                - {_quoted(text.replace('$', '$$'))}" for text in arguments)
    return _CRON_JOB.format(name=name, when=_quoted(when), arguments=listed)


def _check(text: str) -> None:
    option, _, value = text.partition("=")
    if option in _SETTINGS and holds_password(value):
        raise InvalidInputError(
            f"{option} has a password in it ({mask_uri(value)}), and a schedule is read by many.",
            f"leave {option} out, and set {_SETTINGS[option]} in the environment, .env, or the Secret of the CronJob",
        )
    odd = next((character for character in text if not character.isprintable()), "")
    if odd:
        raise InvalidInputError(
            f"{text!a:.120} has the character {odd!a} in it, which a crontab cannot hold.",
            "name an experiment by its id; rename a folder",
        )


def _quoted(text: str) -> str:
    """Return a text as YAML's double-quoted scalar, in ASCII."""
    return '"' + "".join(_ESCAPES.get(character) or _escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    number = ord(character)
    if 0x20 <= number < 0x7F:
        return character
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


_ESCAPES = {'"': '\\"', "\\": "\\\\"}
_SETTINGS = {
    "--tracking-uri": "MLFLOW_TRACKING_URI",
    "--backend-store-uri": "MLFLOW_BACKEND_STORE_URI",
    "--artifacts-destination": "MLFLOW_ARTIFACTS_DESTINATION",
}
_CRON_JOB = """\
# The journal of clean-ups, by which they are undone. With a server that says nothing of its database it also keeps
# since when a run is known to be deleted.
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {name}
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests:
      storage: 1Gi
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  schedule: {when}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      # What was left is found by the next one.
      backoffLimit: 0
      activeDeadlineSeconds: 21600
      template:
        metadata:
          labels:
            app.kubernetes.io/name: {name}
        spec:
          restartPolicy: Never
          automountServiceAccountToken: false
          securityContext:
            runAsNonRoot: true
            runAsUser: 10001
            runAsGroup: 10001
            fsGroup: 10001
            seccompProfile:
              type: RuntimeDefault
          containers:
            - name: gc
              image: "FILL/IN:image-with-holdfast"
              workingDir: /work
              command: ["holdfast"]
              args:{arguments}
              env:
                - name: HOME
                  value: /tmp
              # MLFLOW_TRACKING_URI, MLFLOW_BACKEND_STORE_URI, MLFLOW_AWS_ACCESS_KEY_ID and so on:
              # kubectl create secret generic {name} --from-env-file .env
              envFrom:
                - secretRef:
                    name: {name}
              resources:
                requests:
                  cpu: 100m
                  memory: 256Mi
                limits:
                  memory: 1Gi
              securityContext:
                allowPrivilegeEscalation: false
                readOnlyRootFilesystem: true
                capabilities:
                  drop: [ALL]
              volumeMounts:
                - name: state
                  mountPath: /work/.holdfast
                - name: tmp
                  mountPath: /tmp
          volumes:
            - name: state
              persistentVolumeClaim:
                claimName: {name}
            - name: tmp
              emptyDir: {{}}
"""
