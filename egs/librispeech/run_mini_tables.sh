#!/usr/bin/env bash
# The paper's tables 1, 2, 3, 4 and 6 in miniature, on Mini LibriSpeech and novels spoken by synthesisers, to one file.
#
#   LIBRISPEECH=/path/to/LibriSpeech ./run_mini_tables.sh                 every row, on a GPU
#   LIBRISPEECH=/path/to/LibriSpeech ./run_mini_tables.sh --ngpu 0        the rows that a CPU can do, from dumped states
#   ./run_mini_tables.sh --rows "main table3_qf40" --seeds "1 2 3"        some rows, several times
#
#   --rows       rows, names of conf/mini/*.yaml
#   --seeds      seeds that each row is trained with, all from the first's alignment; the first has the row's plain name, and the
#                rows of table 6 need it
#   --align_steps  steps of CTC, at true length, by which every kind of connector is aligned once for its rows to begin from
#   --ngpu       GPUs; 0 is the CPU: fewer steps, from dumped states, which leaves out what acts before them
#   --rows_at_once  rows trained side by side on one GPU, most of which one leaves idle and four fill, less without CUDA's MPS
#                (nvidia-cuda-mps-control -d), or on a CPU, whose cores they share; those of table 6 come after the others
#   --nj         parallel jobs
#   --set        further overrides of every row's YAML; an alignment has its own padding, batches, steps and learning rate
#   --test_sets  test sets, tried single, with another utterance's speech, and, for table 6, joined up to 60 and 90 s
#   --dry_run    print the commands, run none
#
# LIBRISPEECH must hold train-clean-5 and the test sets already. Models, once: ../../tools/fetch_models.py whisper-tiny.en whisper-base.en smollm2-135m-instruct qwen2.5-coder-1.5b-instruct
# Started again, it goes on where it stopped. The scores of all rows are in exp/mini_tables.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

on_a_cpu="table2_fc75 table2_fc300 table2_ca75 main table3_qf40 table3_qf160 table4_tiny"
everywhere="$on_a_cpu table4_qwen table1_no_concat table1_no_concat_masked table1_no_concat_true_length"
everywhere+=" table6_fc75 table6_qf80 table6_seg_qf80"
invocation=$(printf '%q ' "$0" "$@")
rows='' seeds=1 align_steps='' ngpu=1 rows_at_once=1 nj=8 set='' test_sets="dev_clean test_clean test_other" dry_run=false
options="rows seeds align_steps ngpu rows_at_once nj set test_sets dry_run"
# shellcheck source=utils/parse_options.sh
. ../../utils/parse_options.sh
# shellcheck source=utils/run_child.sh
. ../../utils/run_child.sh
# shellcheck source=/dev/null
. ./path.sh

: "${LIBRISPEECH:?where is the corpus? Set it, for example: LIBRISPEECH=/path/to/LibriSpeech ./run_mini_tables.sh}"
if ((rows_at_once != 1 && ngpu > 1 || rows_at_once < 1)); then
  echo "$0: --rows_at_once $rows_at_once: expected 1, or more with --ngpu 1 or 0" >&2
  exit 2
fi
if ((ngpu == 0)); then
  rows=${rows:-$on_a_cpu}
  for row in $rows; do
    [[ -f conf/mini/$row.yaml ]] || { echo "$0: --rows $row: no such row, expected some of $everywhere" >&2; exit 2; }
    [[ " $on_a_cpu " == *" $row "* ]] ||
      { echo "$0: --rows $row: not for a CPU, with its encoder in the loop or its large LLM; expected some of $on_a_cpu" >&2; exit 2; }
  done
  set="encoder.padding=none data.dump=encoder data.concat=null train.dtype=$(../../utils/cpu_dtype.sh) \
decoder.lora.dropout=0.0 data.batch_size=16 data.batch_duration=240 data.num_workers=0 train.max_steps=250 train.valid_every=250 $set"
  align_steps=${align_steps:-1000}
fi
inference_nj=$((ngpu > 0 ? ngpu : rows_at_once > 1 ? 1 : 2))
rows=${rows:-$everywhere} align_steps=${align_steps:-2000}
align="encoder.padding=none data.concat=null train.init_from=null train.packing=false train.lr=1e-3 \
data.batch_size=16 data.batch_duration=240 train.max_steps=$align_steps train.ctc_steps=$align_steps"
for row in $rows; do
  $dry_run || run_child speechllm fetch_models --config "conf/mini/$row.yaml" --set "$set"
done
spoken=../spoken_gutenberg/data/train_spoken
[[ -d $spoken ]] || $dry_run || run_child ../spoken_gutenberg/run.sh --stop_stage 1 --nj "$nj"

name_of() { # row, seed
  [[ $2 == "${seeds%% *}" ]] && echo "mini_$1" || echo "mini_$1_seed$2"
}

overrides_of() { # row; one that ends in _aligned is the alignment of the row's connector
  if [[ $1 == *_aligned ]]; then echo "$set $align"; else echo "$set"; fi
}

to_join=()
((ngpu == 0)) || to_join=(--joined "60 90")
recipe() { # row, seed, further options
  local row=$1 seed=$2 joined=() settings runner=(run_child)
  settings="seed=$2 $(overrides_of "$1")"
  shift 2
  [[ $row != *_aligned ]] || set -- --stop_stage 4 "$@"
  [[ $row != table6_* && $row != table2_fc75 && $row != main ]] || joined=("${to_join[@]}")
  ((rows_at_once == 1)) || runner=() # its process group is ended as a whole
  "${runner[@]}" ./run.sh --ngpu "$ngpu" --nj "$nj" --inference_nj "$inference_nj" --dry_run "$dry_run" \
    --train_set train_clean_5 --valid_speakers 2 --extra_train_data "$spoken" --test_sets "$test_sets" "${joined[@]}" \
    --config "conf/mini/${row%_aligned}.yaml" --set "$settings" --tag "$(name_of "$row" "$seed")" --mismatched "$@"
}

end_rows() {
  trap '' INT TERM HUP
  jobs -p | while read -r group; do kill -- "-$group" 2>/dev/null; done
  wait
  exit 143
}

wait_for_one() {
  wait -n || failed=true
  running=$((running - 1))
}

tables=() running=0 failed=false
all_of() { # seeds, rows
  local row seed exp
  for seed in $1; do
    for row in "${@:2}"; do
      exp=exp/$(name_of "$row" "$seed")
      [[ $row == *_aligned ]] || tables+=("$exp")
      if ((rows_at_once == 1)); then
        recipe "$row" "$seed" --stage 1
        continue
      fi
      ((running < rows_at_once)) || wait_for_one
      ! $failed || break 2
      beside_others "$row" "$seed" "$exp" &
      running=$((running + 1))
    done
  done
  while ((running > 0)); do wait_for_one; done
  ! $failed || exit 1
}

beside_others() { # row, seed, experiment
  if $dry_run; then
    recipe "$1" "$2" --stage 3
    return
  fi
  mkdir -p "$3"
  recipe "$1" "$2" --stage 3 >>"$3/tables.log" 2>&1 || { echo "$0: $3 failed; see $3/tables.log" >&2; return 1; }
}

aligned=() single=() long=()
for row in $rows; do
  if [[ $row == table6_* ]]; then long+=("$row"); else single+=("$row"); fi
  begins_from=$(speechllm show_config --set "$set" "conf/mini/$row.yaml" |
    sed -n 's/^ *init_from: exp\/mini_\(\w*_aligned\) .*/\1/p')
  [[ -z $begins_from || " ${aligned[*]} " == *" $begins_from "* ]] || aligned+=("$begins_from")
done
if ((rows_at_once > 1)); then
  set -m # every row is a process group of its own, so that it can be ended with all its children
  trap end_rows INT TERM HUP
  dumped=()
  for row in $rows "${aligned[@]}"; do # what they read: two rows may not write the same dump at once
    dump=$(speechllm names --config "conf/mini/${row%_aligned}.yaml" --set "$(overrides_of "$row")")
    [[ " ${dumped[*]} " == *" ${dump% *} "* ]] ||
      recipe "$row" "${seeds%% *}" "${to_join[@]}" --stage $((${#dumped[@]} > 0 ? 2 : 1)) --stop_stage 2
    dumped+=("${dump% *}")
  done
  if ((ngpu == 0)); then
    cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
    export SPEECHLLM_THREADS=${SPEECHLLM_THREADS:-$(((cores + rows_at_once - 1) / rows_at_once))}
    export OMP_NUM_THREADS=$SPEECHLLM_THREADS
  fi
fi
all_of "${seeds%% *}" "${aligned[@]}"
all_of "$seeds" "${single[@]}"
all_of "$seeds" "${long[@]}"  # they begin from single ones
$dry_run || speechllm results "${tables[@]}" --output exp/mini_tables.md --command "$invocation"
