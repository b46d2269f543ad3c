#include "cmd.h"
int cmd_where(int argc, char **argv) { (void)argc; (void)argv; return 1; }
int cmd_doctor(int argc, char **argv) { (void)argc; (void)argv; return 1; }
int cmd_cache(int argc, char **argv) { (void)argc; (void)argv; return 1; }
