#!/usr/bin/env bash
# Create a recipe for your own corpus.
#
#   utils/new_recipe.sh NAME [--from MODEL]
#
# writes egs/NAME (run.sh, cmd.sh, path.sh, conf, RESULTS.md) and speechllm/corpora/NAME.py, the only files that depend
# on the corpus. They run unchanged on ROOT/{train,dev,test}.tsv, tables of path, text and optionally speaker; for another
# layout, rewrite `parse` in speechllm/corpora/NAME.py. Existing files are not overwritten.
#
#   --from MODEL   experiment, packed model or hub id to fine-tune in conf/train.yaml, instead of base-smollm2-whisper-ctc
set -euo pipefail
export LC_ALL=C # a-z are the 26 ASCII letters

die() {
  echo "new_recipe: $1" >&2
  exit 2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
template=$root/utils/recipe_template
case ${1:-} in
  -h | --help)
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 0 ;;
esac
model=
if [[ ${2:-} == --from && $# -eq 3 ]]; then
  model=$3
  set -- "$1"
fi
[[ $# -eq 1 ]] || die "found $# arguments, expected one: the name of the corpus (see --help)"
name=$1
[[ $name =~ ^[a-z][a-z0-9_]*$ ]] ||
  die "found the name '$name', expected lower case letters, digits and underscores, beginning with a letter"
recipe=$root/egs/$name corpus=$root/speechllm/corpora/$name.py
for path in "$recipe" "$corpus"; do
  [[ ! -e $path ]] || die "$path exists already; choose another name or remove it"
done

fill_in() { # template, file
  mkdir -p "$(dirname "$2")"
  sed -e "s/my_corpus/$name/g" -e "s/MY_CORPUS/${name^^}/g" "$1" >"$2"
}

fill_in "$template/corpus.py" "$corpus"
for file in run.sh cmd.sh path.sh conf/train.yaml conf/train_ctc.yaml RESULTS.md; do
  fill_in "$template/$file" "$recipe/$file"
done
if [[ -n $model ]]; then
  [[ ! -d $model ]] || model=$(cd "$model" && pwd)
  if ! speechllm show_config "$model" >"$recipe/conf/model.yaml"; then
    rm -r "$recipe" "$corpus"
    exit 2
  fi
  cat >"$recipe/conf/train.yaml" <<EOF
# Fine-tune the model named below; model.yaml is its configuration. egs/OWN_DATA.md describes fine-tuning.
base: model.yaml
data: {max_duration: 30}
train: {init_from: "$model", ctc_steps: 0, llm_lr: null, max_steps: 300, lr: 2e-4, warmup_steps: 30, valid_every: 50}
EOF
fi
chmod +x "$recipe/run.sh"
echo "Wrote $recipe and $corpus. Now, in egs/$name: ${name^^}=/path/to/$name ./run.sh --stop_stage 1"
