# shellcheck shell=bash
# Set the variable NAME to VALUE for "--NAME VALUE", for every name that the caller lists in $options.
#
#   options="stage nj mini"; stage=0 nj=4 mini=false; . utils/parse_options.sh
#
# An option with the value true or false may be given without a value, meaning true. "--help" prints the caller's
# leading comment block. "--typed" ends the options; the words after it are left in "$@". Anything else is an error.
# $renamed may be a file of former names of options, each with its replacement.
: "${options:?list the names of the options before reading parse_options.sh}"
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help)
      sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
      exit 0 ;;
    --typed)
      shift
      break ;;
    --*)
      name=${1#--} name=${name//-/_}
      if [[ " $options " != *" $name "* && -n ${renamed:-} ]] && grep -q "^$name " "$renamed"; then
        echo "$0: option $1 was renamed, expected: $(sed -n "s/^$name //p" "$renamed")" >&2
        exit 2
      fi
      [[ " $options " == *" $name "* ]] || { echo "$0: unknown option $1, expected one of --${options// / --}" >&2; exit 2; }
      if [[ ${!name} =~ ^(true|false)$ && ! ${2:-} =~ ^(true|false)$ ]]; then
        printf -v "$name" true
        shift
      else
        [[ $# -ge 2 && $2 != --[a-z]* ]] || { echo "$0: option $1 needs a value (see --help)" >&2; exit 2; }
        printf -v "$name" '%s' "$2"
        shift 2
      fi ;;
    *) echo "$0: unexpected argument '$1' (see --help)" >&2; exit 2 ;;
  esac
done
