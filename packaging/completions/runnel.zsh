#compdef runnel
# Completion of runnel(1) for zsh. Commands, options and names are asked of the program itself.
local -a found
local runnel=$words[1]
if [[ $words[CURRENT-1] == (--config|-c) ]]; then
  _files
elif (( CURRENT == 2 )) || [[ $CURRENT == 3 && $words[2] == help ]]; then
  found=(${(f)"$($runnel help 2>/dev/null | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p')"})
  (( CURRENT == 2 )) && found+=(--version --help)
  compadd -a found
elif (( CURRENT == 3 )) && [[ $words[2] == list ]]; then
  compadd sources collectors encodings sinks sink
elif (( CURRENT == 4 )) && [[ $words[2] == list && $words[3] == sink ]]; then
  found=(${(f)"$($runnel list sinks 2>/dev/null | sed -n 's/^  \([a-z0-9_-]\{1,\}\) .*/\1/p')"})
  compadd -a found
else
  found=(${(f)"$($runnel help $words[2] 2>/dev/null | sed -n 1p | grep -o -e '--[a-z-]*')"})
  compadd -a found
fi
