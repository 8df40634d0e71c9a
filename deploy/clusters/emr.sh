#!/usr/bin/env bash
# The daily study's rows and windows on Amazon EMR: emr.sh BUCKET REGION [SYMBOL...]
# Needs the aws command with the default EMR roles (aws emr create-default-roles), uv, and s3://BUCKET/us-daily/SYMBOL.csv.
# Costs money: three machines until the step ends; the cluster ends with it, and after half an hour without work in any case.
set -euo pipefail
cd "$(dirname "$0")/../.."
bucket=${1:?bucket} region=${2:?region}
shift 2
symbols=("$@")
((${#symbols[@]})) || symbols=(AAPL MSFT GOOGL AMZN TSLA META)
stamp=$(date +%Y%m%d-%H%M%S)
out="s3://$bucket/daily-$stamp" python=/opt/tickcast/bin/python

rm -rf dist && uv build --wheel --out-dir dist
wheel=$(basename dist/*.whl)
for file in "dist/$wheel" deploy/clusters/install.sh models/studies/daily_etl.py; do
    aws s3 cp --region "$region" "$file" "s3://$bucket/tickcast/"
done

step=(spark-submit --deploy-mode cluster
    --conf "spark.pyspark.python=$python" --conf "spark.yarn.appMasterEnv.PYSPARK_PYTHON=$python"
    "s3://$bucket/tickcast/daily_etl.py" "s3://$bucket/us-daily" "$out" "${symbols[@]}")
arguments=$(IFS=, && echo "${step[*]}")
cluster=$(aws emr create-cluster --region "$region" --name "tickcast-daily-$stamp" --release-label emr-7.5.0 \
    --applications Name=Spark --use-default-roles --instance-type m5.xlarge --instance-count 3 \
    --log-uri "s3://$bucket/logs/" --auto-terminate --auto-termination-policy IdleTimeout=1800 \
    --bootstrap-actions "Path=s3://$bucket/tickcast/install.sh,Args=[s3://$bucket/tickcast/$wheel]" \
    --steps "Type=CUSTOM_JAR,Name=daily,Jar=command-runner.jar,ActionOnFailure=TERMINATE_CLUSTER,Args=[$arguments]" \
    --query ClusterId --output text)
echo "cluster $cluster runs; rows, windows, removed.json will be in $out"
aws emr wait cluster-terminated --region "$region" --cluster-id "$cluster"
aws emr describe-cluster --region "$region" --cluster-id "$cluster" --query Cluster.Status
