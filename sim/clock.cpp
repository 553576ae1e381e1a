// Main program of simulations without Python: a clock, until $finish.
#include <memory>

#include "Vtop.h"
#include "verilated.h"

int main(int argc, char **argv) {
    const auto context = std::make_unique<VerilatedContext>();
    context->commandArgs(argc, argv);
    const auto top = std::make_unique<Vtop>(context.get(), "");
    while (!context->gotFinish()) {
        top->aclk = !top->aclk;
        top->eval();
        context->timeInc(5);
    }
    top->final();
    return 0;
}
