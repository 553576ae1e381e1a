// Top of long simulations: the unit, its streams' ends and a script that drives it. Nothing but the
// clock comes from outside, so no signal is public and nothing waits for Python.
module bench #(
    parameter BUS_BYTES = 8
) (
    input wire aclk
);
    wire aresetn, irq;
    wire [7:0] awaddr, araddr;
    wire [31:0] wdata, rdata;
    wire [1:0] bresp, rresp;
    wire awvalid, awready, wvalid, wready, bvalid, arvalid, arready, rvalid;

    wire [8*BUS_BYTES-1:0] weights_tdata, acts_tdata, results_tdata;
    wire [BUS_BYTES-1:0] weights_tkeep, acts_tkeep, results_tkeep;
    wire weights_tlast, weights_tvalid, weights_tready, acts_tlast, acts_tvalid, acts_tready;
    wire results_tlast, results_tuser, results_tvalid, results_tready;

    wire play, done;
    wire [31:0] number, seed, packets, cycle, first_cycle, last_cycle, offer_cycle;
    wire [7:0] gap_weights, gap_acts, gap_results;
    wire [31:0] weight_beats, act_beats, result_beats, weight_stalls, act_stalls, result_stalls;

    sparseloom unit (
        .aclk(aclk), .aresetn(aresetn), .irq(irq),
        .s_axil_awaddr(awaddr), .s_axil_awprot(3'b0), .s_axil_awvalid(awvalid),
        .s_axil_awready(awready), .s_axil_wdata(wdata), .s_axil_wstrb(4'hF),
        .s_axil_wvalid(wvalid), .s_axil_wready(wready),
        .s_axil_bresp(bresp), .s_axil_bvalid(bvalid), .s_axil_bready(1'b1),
        .s_axil_araddr(araddr), .s_axil_arprot(3'b0), .s_axil_arvalid(arvalid),
        .s_axil_arready(arready), .s_axil_rdata(rdata), .s_axil_rresp(rresp),
        .s_axil_rvalid(rvalid), .s_axil_rready(1'b1),
        .s_axis_weights_tdata(weights_tdata), .s_axis_weights_tkeep(weights_tkeep),
        .s_axis_weights_tlast(weights_tlast), .s_axis_weights_tvalid(weights_tvalid),
        .s_axis_weights_tready(weights_tready),
        .s_axis_acts_tdata(acts_tdata), .s_axis_acts_tkeep(acts_tkeep),
        .s_axis_acts_tlast(acts_tlast), .s_axis_acts_tvalid(acts_tvalid),
        .s_axis_acts_tready(acts_tready),
        .m_axis_results_tdata(results_tdata), .m_axis_results_tkeep(results_tkeep),
        .m_axis_results_tlast(results_tlast), .m_axis_results_tuser(results_tuser),
        .m_axis_results_tvalid(results_tvalid), .m_axis_results_tready(results_tready)
    );

    stream_ends #(.BUS_BYTES(BUS_BYTES)) ends (
        .aclk(aclk),
        .weights_tdata(weights_tdata), .weights_tkeep(weights_tkeep), .weights_tlast(weights_tlast),
        .weights_tvalid(weights_tvalid), .weights_tready(weights_tready),
        .acts_tdata(acts_tdata), .acts_tkeep(acts_tkeep), .acts_tlast(acts_tlast),
        .acts_tvalid(acts_tvalid), .acts_tready(acts_tready),
        .ready(results_tready), .results_tdata(results_tdata), .results_tkeep(results_tkeep),
        .results_tlast(results_tlast), .results_tuser(results_tuser),
        .results_tvalid(results_tvalid), .results_tready(results_tready),
        .play(play), .number(number), .seed(seed), .gap_weights(gap_weights), .gap_acts(gap_acts),
        .gap_results(gap_results), .packets(packets), .expect_(1'b0), .pause(3'b0), .cycle(cycle),
        .done(done), .first_cycle(first_cycle), .last_cycle(last_cycle), .offer_cycle(offer_cycle),
        .weight_beats(weight_beats), .act_beats(act_beats), .result_beats(result_beats),
        .weight_stalls(weight_stalls), .act_stalls(act_stalls), .result_stalls(result_stalls)
    );

    script driver (
        .aclk(aclk), .aresetn(aresetn),
        .awaddr(awaddr), .awvalid(awvalid), .awready(awready), .wdata(wdata), .wvalid(wvalid),
        .wready(wready), .bresp(bresp), .bvalid(bvalid), .araddr(araddr), .arvalid(arvalid),
        .arready(arready), .rdata(rdata), .rresp(rresp), .rvalid(rvalid),
        .play(play), .number(number), .seed(seed), .gap_weights(gap_weights), .gap_acts(gap_acts),
        .gap_results(gap_results), .packets(packets), .phase(8'b0), .cycle(cycle), .done(done),
        .first_cycle(first_cycle), .last_cycle(last_cycle), .offer_cycle(offer_cycle),
        .weight_beats(weight_beats), .act_beats(act_beats), .result_beats(result_beats),
        .weight_stalls(weight_stalls), .act_stalls(act_stalls), .result_stalls(result_stalls)
    );
endmodule

// Rules of the unit's ports, see protocol.sv.
bind sparseloom
    protocol #(.BUS_BYTES($bits(m_axis_results_tkeep))) rules (.*);
