#!/usr/bin/env bash
# The daily study's rows and windows on Google Dataproc: dataproc.sh BUCKET REGION [SYMBOL...]
# Needs gcloud with a project, uv, and gs://BUCKET/us-daily/SYMBOL.csv. Costs money: three machines until it ends; the cluster
# deletes itself after half an hour without work, or four hours, even if this script dies.
set -euo pipefail
cd "$(dirname "$0")/../.."
bucket=${1:?bucket} region=${2:?region}
shift 2
symbols=("$@")
((${#symbols[@]})) || symbols=(AAPL MSFT GOOGL AMZN TSLA META)
stamp=$(date +%Y%m%d-%H%M%S)
cluster="tickcast-daily-$stamp" out="gs://$bucket/daily-$stamp" python=/opt/tickcast/bin/python

rm -rf dist && uv build --wheel --out-dir dist
gcloud storage cp dist/*.whl deploy/clusters/install.sh "gs://$bucket/tickcast/"
wheel=$(basename dist/*.whl)

trap 'gcloud dataproc clusters delete "$cluster" --region "$region" --quiet' EXIT
gcloud dataproc clusters create "$cluster" --region "$region" --image-version 2.3-debian12 \
    --master-machine-type n2-standard-4 --worker-machine-type n2-standard-4 --num-workers 2 \
    --metadata "wheel=gs://$bucket/tickcast/$wheel" \
    --initialization-actions "gs://$bucket/tickcast/install.sh" --initialization-action-timeout 20m \
    --max-idle 30m --max-age 4h
gcloud dataproc jobs submit pyspark models/studies/daily_etl.py --cluster "$cluster" --region "$region" \
    --properties "spark.pyspark.python=$python,spark.pyspark.driver.python=$python" \
    -- "gs://$bucket/us-daily" "$out" "${symbols[@]}"
echo "rows, windows, removed.json: $out"
