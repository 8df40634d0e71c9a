#!/usr/bin/env bash
# Gives a machine of a cluster the Python that the daily study's Spark job needs, in /opt/tickcast: install.sh [WHEEL]
# An initialization action of Dataproc (the wheel's address comes as metadata) and a bootstrap action of EMR (as an argument).
set -euo pipefail
wheel=${1:-$(/usr/share/google/get_metadata_value attributes/wheel)}
command -v python3.11 >/dev/null || sudo dnf install -y python3.11 python3.11-pip
sudo mkdir -p /opt/tickcast
sudo chown "$(id -u)" /opt/tickcast
python3.11 -m venv /opt/tickcast
case $wheel in
gs://*) gcloud storage cp "$wheel" /tmp/ ;;
s3://*) aws s3 cp "$wheel" /tmp/ ;;
esac
# what models/studies/daily_etl.py imports; Spark itself is the cluster's
/opt/tickcast/bin/pip install --quiet polars pyarrow "pandas<3" numpy protobuf aiokafka crc32c
/opt/tickcast/bin/pip install --quiet --no-deps "/tmp/$(basename "$wheel")"
