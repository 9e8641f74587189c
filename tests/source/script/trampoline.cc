#include "source/script/exec_hook.h"

int main(int argc, char** argv) {
  return runnel::exec_hook_main(argc, argv);
}
