#!/usr/bin/env bash
# Stages of all recipes; the run.sh of a corpus calls this script with the names of its sets.
#
# Corpus
#   --corpus            module in speechllm/corpora
#   --corpus_dir        folder of the corpus, or to download it to
#   --corpus_maker      Python program that creates the corpus in corpus_dir instead of downloading it
#   --normalizer        text normaliser of the scores: none, librispeech, gigaspeech, whisper-english, whisper-basic or english
# Sets, by name or by the path of a data directory, such as ../commonvoice/data/test of another recipe
#   --train_sets        training sets, "train train_sp0.9 train_sp1.1 train_aug"; data.shares of the YAML is the fraction of each per
#                       epoch, in this order
#   --valid_set         validation set
#   --test_sets         test sets, "test test_shuffled test_cat60 non_speech"
#                       Stage 1 writes derived sets from the set X that their name begins with:
#                         X_train2, X_valid2   X without two of its speakers; these two speakers
#                         X_sp0.9, X_aug       X at another speed; with noise, reverberation and codecs (data.augment of the YAML)
#                         X_cat60              neighbouring utterances concatenated, up to 60 seconds
#                         X_shuffled           each utterance decoded with the audio of another utterance, as a control
#                         non_speech           silence and noise, to count hallucinated words
# Stages
#   --stage             first stage to run
#   --stop_stage        last stage to run
#                         0 download the corpus and the models   4 average the best checkpoints
#                         1 prepare, derive and validate sets    5 decode
#                         2 dump features                        6 score
#                         3 train
#   --dry_run           print the commands without running them
# Experiment
#   --config            experiment YAML
#   --set               overrides of the YAML, "train.lr=1e-4 prompt.template='Heard: <speech> Said:'"
#   --tag               name of the experiment (default: the YAML's name)
#   --trained           test this experiment, packed or shipped model, or hub id instead of training; training sets and --config are
#                       not used. Results of other models than experiments go to exp/<name of the model>
#   --trust_components  import modules outside speechllm that --trained names
#   --inference_config  YAML that replaces the decode section; its name is appended to those of the results
#   --baseline          also decode and score with Whisper's own decoder, in this language, e.g. de; auto: that of the set, or detected
# Machine
#   --ngpu              GPUs for training; 0 is the CPU
#   --num_nodes         machines for training, listed in DeepSpeed's hostfile
#   --nj                parallel jobs of the dump
#   --inference_nj      parallel jobs of the decoding
#   --work_dir          parent of the folders data, dump and exp (default: the recipe); each may be a symbolic link
#   --typed             the last option; the words after it are the command as typed, for RESULTS.md
# Variables
#   CMD_BACKEND         local or slurm, see cmd.sh
#   SPEECHLLM_THREADS   threads per job of dump and decode (default: an equal share of the cores)
set -euo pipefail

corpus='' corpus_dir='' corpus_maker='' normalizer=librispeech train_sets='' valid_set='' test_sets=''
stage=0 stop_stage=6 dry_run=false
config='' set='' tag='' trained='' trust_components=false inference_config='' baseline=''
ngpu=1 num_nodes=1 nj=8 inference_nj=1 work_dir=''
options="corpus corpus_dir corpus_maker normalizer train_sets valid_set test_sets stage stop_stage dry_run \
config set tag trained trust_components inference_config baseline ngpu num_nodes nj inference_nj work_dir"
utils=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
renamed=$utils/renamed_options
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
# shellcheck source=utils/run_child.sh
. "$utils/run_child.sh"
# shellcheck source=utils/path.sh
. ./path.sh
# shellcheck source=egs/cmd.sh
. ./cmd.sh

[[ -z $config || -f $config ]] || { echo "$0: --config $config: no such file; see conf/" >&2; exit 2; }
[[ -z $trained ]] || config=$trained train_sets='' valid_set=''
required="corpus test_sets config"
[[ -n $trained ]] || required+=" train_sets valid_set"
for name in $required; do
  [[ -n ${!name} ]] || { echo "$0: --$name is required (see --help)" >&2; exit 2; }
done
if [[ $stage -le 1 && -z $corpus_dir ]]; then
  echo "$0: found no corpus folder, expected one; set ${1%%=*}, for example: ${1%%=*}=/path/to/$corpus ./run.sh" >&2
  exit 2
fi

run() {
  local line
  printf -v line '%q ' "$@"
  echo "$(date '+%F %T') ${line% }" >&2
  $dry_run || run_child "$@"
}
in_jobs() { # launcher, number of jobs, verb and its arguments: run the jobs, and merge their results
  # shellcheck disable=SC2086
  run $1 "JOB=1:$2" "$exp/log/$3.JOB.log" speechllm "$3" --nj "$2" --job JOB "${@:4}"
  run speechllm "$3" --nj "$2" "${@:4}"
}
logged() { # log file, command: show its output, and append it to the file
  local log tee
  if $dry_run; then run "${@:2}" 2>&1; return; fi
  mkdir -p "$(dirname "$1")"
  exec {log}> >(trap '' INT TERM HUP; exec tee -a "$1")
  tee=$!
  run "${@:2}" >&"$log" 2>&1
  exec {log}>&-
  wait "$tee"
}
on() {
  ((stage <= $1 && $1 <= stop_stage)) && echo "# stage $1: $2" >&2
}

# shellcheck disable=SC2206
train=($train_sets) test=($test_sets)
sets=("${train[@]}" ${valid_set:+"$valid_set"} "${test[@]}")
data=${work_dir:+$work_dir/}data dump=${work_dir:+$work_dir/}dump exp=${work_dir:+$work_dir/}exp
exp+=/$(basename "${trained:-${tag:-$config}}" .yaml) # also for a packed or shipped model, or a hub id
[[ ! -f $trained/config.yaml ]] || exp=$trained
overrides=(${set:+--set "$set"}) trust=(--trust_components) # the YAML is the user's, so its modules are trusted
[[ -z $trained ]] || $trust_components || trust=()
yaml=(--config "$config" "${overrides[@]}")
model_yaml=("${yaml[@]}" ${trained:+"${trust[@]}"}) decoding=(${inference_config:+--inference_config "$inference_config"})
start=$SECONDS
((ngpu > 0)) || export CUDA_VISIBLE_DEVICES=''

if on 0 "download missing data and models: $corpus"; then
  fetch=(speechllm download "$corpus" "$corpus_dir" --sets "${sets[@]}")
  [[ -z $corpus_maker ]] || fetch=(python3 "$corpus_maker" "$corpus_dir")
  run "${fetch[@]}"
  [[ -n $trained && $stop_stage -lt 2 ]] || run speechllm fetch_models "${model_yaml[@]}"
fi
if on 1 "prepare, derive and validate $data/<set>"; then
  run speechllm prepare "$corpus" "$corpus_dir" "$data" --sets "${sets[@]}" || (($? == 3)) # 3: some utterances were left out
  run speechllm derive "${model_yaml[@]}" --data "$data" "${sets[@]}"
fi
if on 2 "dump to $dump/<frontend>/<set>, $nj jobs"; then
  in_jobs "$dump_cmd" "$nj" dump "${model_yaml[@]}" --data "$data" --dump "$dump" "${sets[@]}"
fi
if [[ -z $trained ]] && on 3 "train $exp"; then
  # shellcheck disable=SC2086
  logged "$exp/train.log" $train_cmd speechllm train "${yaml[@]}" --data "$data" --dump "$dump" --train "${train[@]}" --valid "$valid_set" "$exp"
fi
if [[ -z $trained ]] && on 4 "average the best checkpoints of $exp"; then
  run speechllm average "$exp"
fi
if on 5 "decode, $inference_nj jobs"; then
  in_jobs "$decode_cmd" "$inference_nj" decode "${overrides[@]}" "${trust[@]}" "${decoding[@]}" --data "$data" --dump "$dump" \
    --exp "$exp" "${trained:-$exp}" "${test[@]}"
  language=(${baseline:+--language "$baseline"})
  [[ $baseline != auto ]] || language=()
  [[ -z $baseline ]] || in_jobs "$decode_cmd" "$inference_nj" baseline "${model_yaml[@]}" "${language[@]}" --data "$data" "$exp" "${test[@]}"
fi
if on 6 "score"; then
  [[ ! ${1:-} =~ =$ ]] || shift # an empty variable
  printf -v command '%q ' "$@"
  run speechllm score_sets --normalizer "$normalizer" ${baseline:+--baseline} "${decoding[@]}" --data "$data" "$exp" "${test[@]}"
  run speechllm results "$exp" ${baseline:+"$exp/baseline"} --output "$exp/RESULTS.md" --command "${command% }"
  run speechllm report "$exp" ${baseline:+"$exp/baseline"} --data "$data"
fi
echo "Successfully finished. [elapsed=$((SECONDS - start))s]"
