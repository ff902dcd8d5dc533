#!/usr/bin/env bash
# The stages that every recipe shares; a corpus' run.sh calls this with its own names.
#
# Corpus
#   --corpus            module in speechllm/corpora
#   --corpus_dir        where the corpus lies, or is to be downloaded
#   --corpus_var        name of the variable that holds corpus_dir, for messages
#   --corpus_maker      Python program that makes the corpus in corpus_dir, instead of the download
#   --train_set         training set
#   --valid_set         validation set
#   --valid_speakers    take the validation set from this many speakers of the training set instead
#   --speed_perturb_factors  train on copies of the training set at these speeds as well, without 1: "0.9 1.1"; those longer than
#                       data.max_duration are skipped
#   --augment           train on a copy of the training set in noise, in rooms, through codecs as well: options of speechllm augment,
#                       "--snr 5 20 --reverberation 0.2 0.8 --codecs mp3 gsm"
#   --extra_train_data  data directories to train on as well, such as another recipe's data/<set>, here <recipe>_<set>;
#                       data.shares of the YAML says how much of each an epoch has: the own set, its copies (of other speeds,
#                       then the augmented one), then these
#   --test_sets         test sets, separated by spaces
#   --extra_test_data   data directories to test on as well
#   --trained           instead of training, test this experiment, packed or shipped model, or hub id; the recipe has then no
#                       training and validation set, and no --config. Results of a model that is no experiment go to exp/<its name>
#   --trust_components  import the modules outside speechllm that --trained names
#   --joined            test on them joined in the audiobook's order as well, up to so many seconds: "60 90 120"
#   --mini              instead of the corpus, make a tiny one of its layout and run the recipe on it, on the CPU,
#                       in data_mini, dump_mini and exp_mini
#   --mini_config       experiment YAML of --mini
#   --mini_sets         training, validation and test set of --mini, if they are not those of the corpus
#   --mini_extra_train_data  as above, for --mini: ../commonvoice/data_mini/train
#   --mini_extra_test_data   likewise
#   --mini_trained      experiment that --mini tests, if there is nothing to be trained
# Stages
#   --stage             first stage to run, see below
#   --stop_stage        last stage to run
#                         0 download the corpus and the models   4 average the best checkpoints
#                         1 prepare and validate data/<set>      5 decode
#                         2 dump features                        6 score
#                         3 train
#   --dry_run           print the commands, run none
# Experiment
#   --config            experiment YAML
#   --set               overrides of the YAML, "train.lr=1e-4 prompt.template='Heard: <speech> Said:'"
#   --tag               name of the experiment (default: the YAML's name)
#   --inference_config  YAML of another decode section
#   --inference_tag     name of that decoding (default: the YAML's name)
#   --baseline          also decode and score with Whisper's own decoder
#   --language          language of the speech for --baseline, e.g. de (default: a multilingual Whisper detects it)
#   --mismatched        also decode and score with another utterance's speech
#   --no_speech         also decode silence and noise, and count the words heard in them
#   --normalizer        text normaliser of the scores: none, librispeech, gigaspeech, whisper-english or english
# Machine
#   --ngpu              GPUs for training; 0 is the CPU
#   --num_nodes         machines for training, listed in DeepSpeed's hostfile
#   --nj                parallel jobs of the dump
#   --inference_nj      parallel jobs of the decoding
#   --datadir           where data directories go
#   --dumpdir           where dumps go
#   --expdir            where experiments go
#   --typed             the last option: what follows it was typed by the user, and is written to RESULTS.md
# Variables
#   CMD_BACKEND         local or slurm, see cmd.sh
#   SPEECHLLM_THREADS   threads of each job of dump and decode (default: its share of the cores)
set -euo pipefail

corpus='' corpus_dir='' corpus_var='' corpus_maker=''
train_set='' valid_set='' valid_speakers=0 speed_perturb_factors='' augment='' extra_train_data='' test_sets='' extra_test_data='' trained='' trust_components=false joined=''
mini=false mini_config=../librispeech/conf/quickstart.yaml mini_sets='' mini_trained=''
mini_extra_train_data='' mini_extra_test_data=''
stage=0 stop_stage=6 dry_run=false
config='' set='' tag='' inference_config='' inference_tag='' baseline=false language='' mismatched=false no_speech=false normalizer=librispeech
ngpu=1 num_nodes=1 nj=8 inference_nj=1 datadir=data dumpdir=dump expdir=exp
options="corpus corpus_dir corpus_var corpus_maker train_set valid_set valid_speakers speed_perturb_factors augment extra_train_data test_sets extra_test_data trained trust_components joined \
mini mini_config mini_sets mini_trained mini_extra_train_data mini_extra_test_data stage stop_stage dry_run config set tag inference_config \
inference_tag baseline language mismatched no_speech normalizer ngpu num_nodes nj inference_nj datadir dumpdir expdir"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=utils/parse_options.sh
. "$root/utils/parse_options.sh"
# shellcheck source=utils/run_child.sh
. "$root/utils/run_child.sh"
printf -v invocation '%q ' ./run.sh "$@"  # the options behind --typed
[[ -z $corpus_var || -z ${!corpus_var:-} ]] || invocation="$corpus_var=$(printf %q "${!corpus_var}") $invocation"
# shellcheck source=/dev/null
. ./path.sh
# shellcheck source=/dev/null
. ./cmd.sh

if $mini; then
  corpus_dir=../../downloads/mini_$corpus corpus_maker=../../tools/make_mini_$corpus.py
  config=$mini_config ngpu=0 nj=2 datadir=data_mini dumpdir=dump_mini expdir=exp_mini
  [[ -z $mini_sets ]] || read -r train_set valid_set test_sets <<<"$mini_sets"
  extra_train_data=$mini_extra_train_data extra_test_data=$mini_extra_test_data
  [[ -z $mini_trained ]] || trained=$mini_trained
fi

required="corpus test_sets config"
if [[ -n $trained ]]; then
  config=$trained train_set='' valid_set='' valid_speakers=0 speed_perturb_factors='' augment='' extra_train_data=''
else
  required+=" train_set"
  ((valid_speakers > 0)) || required+=" valid_set"
fi
for name in $required; do
  [[ -n ${!name} ]] || { echo "$0: --$name is required (see --help)" >&2; exit 2; }
done
[[ -f $config || -n $trained ]] || { echo "$0: --config $config: no such file; see conf/" >&2; exit 2; }
if [[ $stage -le 1 && -z $corpus_dir ]]; then
  echo "$0: where is the corpus? Set $corpus_var, for example: $corpus_var=/path/to/$corpus ./run.sh" >&2
  exit 2
fi

run() {
  local line
  printf -v line '%q ' "$@"
  echo "$(date '+%F %T') ${line% }" >&2
  $dry_run || run_child "$@"
}
on() {
  ((stage <= $1 && $1 <= stop_stage)) && echo "# stage $1: $2" >&2
}

corpus_sets=$test_sets
if ((valid_speakers > 0)); then
  corpus_sets+=" $train_set"
  whole_set=$train_set
  train_set=${whole_set}_train valid_set=${whole_set}_valid
else
  corpus_sets+=" $train_set $valid_set"
fi
single_test_sets=$test_sets train_sets=$train_set
for factor in $speed_perturb_factors; do
  train_sets+=" ${train_set}_sp$factor"
done
[[ -z $augment ]] || train_sets+=" ${train_set}_aug"
for seconds in $joined; do
  for name in $single_test_sets; do
    test_sets+=" ${name}_t$seconds"
  done
done
decoded_sets=$test_sets
! $no_speech || decoded_sets+=" no_speech"
declare -A elsewhere=()  # data directories of other recipes, by the names that they have here
adopt() { # data directory: sets $name
  local recipe=${1%/*/*}
  name=${1##*/}
  [[ $1 != "$datadir/$name" ]] || return 0 # one of this recipe
  name=${recipe##*/}_${1##*/}
  elsewhere[$name]=$1
}
for path in $extra_train_data; do
  adopt "$path"
  train_sets+=" $name"
done
for path in $extra_test_data; do
  adopt "$path"
  test_sets+=" $name" decoded_sets+=" $name"
done
data_dir() { # set
  echo "${elsewhere[$1]:-$datadir/$1}"
}
if [[ -n $inference_config && -z $inference_tag ]]; then
  inference_tag=$(basename "$inference_config" .yaml)
fi
set_options=()
[[ -z $set ]] || set_options=(--set "$set")
yaml=(--config "$config" "${set_options[@]}") trust=(--trust_components)  # in what was trained here, of a YAML of the user's
if [[ -n $trained ]]; then
  $trust_components || trust=()
  yaml+=("${trust[@]}")
fi
if [[ -f $trained/config.yaml ]]; then
  exp=$trained
else
  exp=$expdir/$(basename "${trained:-${tag:-$config}}" .yaml)  # also of a model that was packed, is shipped or on the hub
fi
model=${trained:-$exp}
start=$SECONDS
dump=$dumpdir whisper_exp=$expdir  # until the names are known
((ngpu > 0)) || export CUDA_VISIBLE_DEVICES=''

if on 0 "download what is free and not yet there: $corpus, models"; then
  # shellcheck disable=SC2086
  if [[ -n $corpus_maker ]]; then
    run python3 "$corpus_maker" "$corpus_dir"
  else
    run speechllm download "$corpus" "$corpus_dir" --sets $corpus_sets
  fi
  [[ -n $trained && $stop_stage -lt 2 ]] || run speechllm fetch_models "${yaml[@]}"
fi

if on 1 "prepare and validate $datadir/<set>"; then
  # shellcheck disable=SC2086
  run speechllm prepare "$corpus" "$corpus_dir" "$datadir" --sets $corpus_sets || (($? == 3))  # 3: some were left out
  if ((valid_speakers > 0)); then
    run speechllm hold_out "$datadir/$whole_set" --speakers "$valid_speakers" --train "$datadir/$train_set" --valid "$datadir/$valid_set"
  fi
  for factor in $speed_perturb_factors; do
    run speechllm perturb_speed "$datadir/$train_set" "$datadir/${train_set}_sp$factor" --factor "$factor"
  done
  # shellcheck disable=SC2086
  [[ -z $augment ]] || run speechllm augment "$datadir/$train_set" "$datadir/${train_set}_aug" $augment
  for seconds in $joined; do
    for name in $single_test_sets; do
      run speechllm join "$datadir/$name" "$datadir/${name}_t$seconds" --duration "$seconds"
    done
  done
  data_dirs=()
  for name in $train_sets $valid_set $test_sets; do
    data_dirs+=("$(data_dir "$name")")
  done
  run speechllm validate "${data_dirs[@]}"
  ! $no_speech || run speechllm make_no_speech "$datadir/no_speech"
fi

if ((2 <= stop_stage)); then
  names=$(speechllm names "${yaml[@]}")
  dump=$dumpdir/${names% *}
  whisper_exp=$expdir/${names#* }
fi

if on 2 "dump to $dump/<set>, $nj jobs"; then
  for name in $train_sets $valid_set $decoded_sets; do
    # shellcheck disable=SC2154,SC2086
    run $dump_cmd "JOB=1:$nj" "$dump/$name/log/dump.JOB.log" \
      speechllm dump --nj "$nj" --job JOB "${yaml[@]}" "$(data_dir "$name")" "$dump/$name"
    run speechllm dump --nj "$nj" "${yaml[@]}" "$(data_dir "$name")" "$dump/$name"
  done
fi

if [[ -z $trained ]] && on 3 "train $exp"; then
  launcher=(python3 -m)
  if [[ -n ${train_cmd:-} ]]; then
    read -ra launcher <<<"$train_cmd $num_nodes $ngpu python3 -m"
  elif ((ngpu > 1 || num_nodes > 1)); then
    launcher=(deepspeed --num_nodes "$num_nodes" --num_gpus "$ngpu" --no_local_rank --module)
  fi
  if $dry_run; then
    exec {log}>&1
  else
    mkdir -p "$exp"
    exec {log}> >(trap '' INT TERM HUP; exec tee -a "$exp/train.log")
  fi
  tee=${!:-} train_dumps=()
  for name in $train_sets; do
    train_dumps+=("$dump/$name")
  done
  run "${launcher[@]}" speechllm train --train "${train_dumps[@]}" --valid "$dump/$valid_set" "${yaml[@]}" "$exp" >&"$log" 2>&1
  exec {log}>&-
  $dry_run || wait "$tee"
fi

if [[ -z $trained ]] && on 4 "average the best checkpoints of $exp"; then
  run speechllm average "$exp"
fi

decode_in_jobs() { # verb, input directory, output directory, further options
  local verb=$1 input=$2 out=$3
  shift 3
  # shellcheck disable=SC2154,SC2086
  run $decode_cmd "JOB=1:$inference_nj" "$out/log/decode.JOB.log" \
    speechllm "$verb" --nj "$inference_nj" --job JOB "$@" "$input" "$out"
  run speechllm "$verb" --nj "$inference_nj" "$@" "$input" "$out"
}

if on 5 "decode, $inference_nj jobs"; then
  search=("${set_options[@]}" "${trust[@]}")
  [[ -z $inference_config ]] || search+=(--inference_config "$inference_config")
  for name in $decoded_sets; do
    out=$exp/decode/$name${inference_tag:+_$inference_tag}
    decode_in_jobs decode "$dump/$name" "$out" "${search[@]}" "$model"
    if $mismatched && [[ $name != no_speech ]]; then
      decode_in_jobs decode "$dump/$name" "${out}_mismatched" --mismatched "${search[@]}" "$model"
    fi
    if $baseline; then
      decode_in_jobs baseline "$(data_dir "$name")" "$whisper_exp/decode/$name" "${yaml[@]}" \
        ${language:+--language "$language"}
    fi
  done
fi

score() { # set, directory with its hypotheses
  local data
  data=$(data_dir "$1")
  if [[ -f $data/ref.stm ]]; then
    run speechllm make_ctm "$data" "$2/text" "$2/hyp.ctm"
    run speechllm score "$data/ref.stm" "$2/hyp.ctm" "$2/score" --glm "$data/ref.glm"
    return
  fi
  run speechllm score "$data/text" "$2/text" "$2/score" --normalizer "$normalizer" --truncated "$2/truncated" \
    --utt2dur "$data/utt2dur"
}

score_no_speech() { # experiment
  local out=$1/decode/no_speech
  [[ $1 != "$exp" ]] || out+=${inference_tag:+_$inference_tag}
  run speechllm score_no_speech "$out/text" "$datadir/no_speech/utt2dur" "$out/score"
}

if on 6 "score"; then
  for name in $test_sets; do
    out=$exp/decode/$name${inference_tag:+_$inference_tag}
    score "$name" "$out"
    if $mismatched; then
      score "$name" "${out}_mismatched"
    fi
    if $baseline; then
      score "$name" "$whisper_exp/decode/$name"
    fi
  done
  if $no_speech; then
    score_no_speech "$exp"
    ! $baseline || score_no_speech "$whisper_exp"
  fi
  scored=("$exp")
  if $baseline; then
    scored+=("$whisper_exp")
  fi
  run speechllm results "${scored[@]}" --output "$exp/RESULTS.md" --command "${invocation% }"
  run speechllm report "${scored[@]}" --data "$datadir"
fi

echo "Successfully finished. [elapsed=$((SECONDS - start))s]"
