# Completion of runnel(1) for bash. Commands, options and names are asked of the program itself.
_runnel() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} runnel=${COMP_WORDS[0]} words=
  case $previous in
    --config | -c)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      compopt -o filenames
      return
      ;;
  esac
  if [ "$COMP_CWORD" = 1 ] || { [ "$COMP_CWORD" = 2 ] && [ "$previous" = help ]; }; then
    words=$("$runnel" help 2>/dev/null | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p')
    [ "$COMP_CWORD" != 1 ] || words+=" --version --help"
  elif [ "$COMP_CWORD" = 2 ] && [ "$previous" = list ]; then
    words="sources collectors encodings sinks sink"
  elif [ "$COMP_CWORD" = 3 ] && [ "${COMP_WORDS[1]}" = list ] && [ "$previous" = sink ]; then
    words=$("$runnel" list sinks 2>/dev/null | sed -n 's/^  \([a-z0-9_-]\{1,\}\) .*/\1/p')
  else
    words=$("$runnel" help "${COMP_WORDS[1]}" 2>/dev/null | sed -n 1p | grep -o -e '--[a-z-]*')
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _runnel runnel
