// Main program of simulations without Python: a clock, until $finish.
#include <memory>

#include "Vtop.h"
#include "verilated.h"
#if VM_COVERAGE
#include "verilated_cov.h"
#endif

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
#if VM_COVERAGE
    context->coveragep()->write("coverage.dat");
#endif
    return 0;
}
