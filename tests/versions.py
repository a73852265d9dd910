"""The installed LangGraph, and the tests that older versions can't run.

`make test-langgraphs` runs the handler's tests on several versions. conftest.py skips a
test of this table on a version that does not have what it is about, and says so. A test
may be named with its parameters, without the store.
"""

from __future__ import annotations

from importlib.metadata import version

LANGGRAPH = tuple(int(part) for part in version("langgraph").split(".")[:3])

SINCE: dict[tuple[int, int, int], dict[str, list[str]]] = {
    (0, 5, 0): {
        "add_node takes retry_policy, cache_policy and defer": [
            "test_each_attempt_of_a_node_has_its_own_subgraph_nodes",
            "test_a_node_answered_from_the_cache_has_no_log",
            "test_a_deferred_node_is_recorded_in_its_step",
            "test_a_node_that_fails_every_attempt_has_a_log_for_each",
            "test_each_attempt_has_a_log",
            "test_each_attempt_of_a_node_has_its_calls",
            "test_whether_another_node_would_run[deferred]",
        ],
        "nodes may read pydantic's fields without a warning": [
            "test_inputs_are_recorded_before_nodes_change_their_objects",
            "test_a_validation_error_fails_the_run",
        ],
    },
    (0, 6, 0): {
        "graphs have a runtime context": [
            "test_a_context_whose_fields_raise_breaks_nothing",
            "test_every_way_to_register_the_handler_sees_the_context",
            "test_the_runtime_context_is_kept",
        ],
        "runlog knows the loop that tells what a stream that was left had left to do": [
            "test_a_graph_in_a_chain_is_left",
            "test_a_message_of_the_last_node",
            "test_a_stream_is_abandoned_at_its_last_chunk",
            "test_a_stream_is_left_at_its_last_chunk",
            "test_a_stream_is_left_at_the_first_chunk_with_the_interrupt",
            "test_events_are_left[last0-completed]",
            "test_reducers_leave_the_values_of_the_program_alone",
            "test_whether_another_node_would_run",
        ],
        "an interrupt has an id": [
            "test_a_dynamic_interrupt_and_its_resume_are_recorded",
            "test_a_finished_sibling_is_not_run_again",
            "test_a_resumed_node_can_interrupt_again",
            "test_an_entry_may_ask_the_user",
            "test_an_interrupt_in_a_subgraph_interrupts_its_parent",
            "test_an_interrupt_in_the_graph_of_a_tool_interrupts_every_level",
            "test_an_interrupt_without_a_checkpointer_is_recorded",
            "test_an_interrupted_run_is_resumed_by_a_second_run",
            "test_falsy_answers_resume_a_run",
            "test_finished_tasks_are_not_recorded_again_after_an_interrupt",
            "test_interrupt_values_may_invoke_a_graph_while_they_are_encoded",
            "test_interrupts_of_two_nodes_at_once_are_recorded",
        ],
    },
    (1, 0, 0): {
        "langchain, whose agents are graphs, works with it": [
            "test_an_agent_and_its_tools_are_recorded",
            "test_an_agent_with_tools_in_parallel",
        ],
    },
    (1, 1, 7): {
        "handlers are told of breakpoints": [
            "test_a_stream_is_abandoned_at_its_last_chunk[abandoned-stops_after]",
            "test_a_stream_is_abandoned_at_its_last_chunk[abandoned-stops_before]",
            "test_a_stream_is_abandoned_at_its_last_chunk[break_and_collect-stops_after]",
            "test_a_stream_is_abandoned_at_its_last_chunk[break_and_collect-stops_before]",
            "test_a_stream_is_left_at_its_last_chunk[by_hand-stops_after]",
            "test_a_stream_is_left_at_its_last_chunk[by_hand-stops_before]",
            "test_a_stream_is_left_at_its_last_chunk[closed-stops_after]",
            "test_a_stream_is_left_at_its_last_chunk[closed-stops_before]",
            "test_a_breakpoint_given_to_the_call_interrupts_the_run",
            "test_a_breakpoint_interrupts_the_run",
            "test_a_static_interrupt_and_its_resume_are_recorded",
            "test_a_static_interrupt_is_not_completed",
            "test_only_the_run_that_pauses_is_paused",
        ],
        "values of configurable are not copied into the metadata": [
            "test_a_password_of_the_config_is_redacted",
            "test_values_of_the_config_are_kept_where_they_are_plain[bool-bool]",
            "test_values_of_the_config_are_kept_where_they_are_plain[float-float]",
            "test_values_of_the_config_are_kept_where_they_are_plain[int-int]",
            "test_values_of_the_config_are_kept_where_they_are_plain[str-str]",
        ],
        "handlers are told that a run resumes, whatever its input": [
            "test_a_command_with_goto_continues_the_thread",
            "test_a_run_from_an_older_checkpoint_is_resumed",
        ],
        "langgraph.callbacks": [
            "test_interrupts_are_recorded_without_the_functions_that_install_wraps",
            "test_other_handlers_still_receive_interrupts",
            "test_the_handler_is_a_langgraph_callback_handler",
            "test_uninstall_leaves_what_another_has_wrapped",
            "test_uninstall_restores_everything",
        ],
    },
    (1, 2, 0): {
        "a graph knows the chain with fallbacks that it is in": [
            "test_each_attempt_of_a_whole_graph_is_a_run[fallback-ainvoke]",
            "test_each_attempt_of_a_whole_graph_is_a_run[fallback-invoke]",
        ],
        "the tool node of langchain's agents gets its call alone": [
            "test_an_agent_and_its_tools_are_recorded",
        ],
        "nodes have time limits and error handlers; a run can be drained": [
            "test_a_drained_run_is_interrupted",
            "test_a_langgraph_without_some_exceptions_is_recorded",
            "test_a_node_is_retried_after_its_time_limit",
            "test_a_node_over_its_time_limit_is_cancelled",
            "test_the_node_that_was_cancelled_first_is_named",
            "test_an_error_handler_of_a_node_is_recorded",
            "test_whether_another_node_would_run[handled]",
        ],
    },
    (1, 2, 3): {
        "the config that a graph has, or runs in, is merged with that of the call": [
            "test_a_graph_configured_with_the_handler_is_recorded",
            "test_a_handler_of_the_subgraph",
            "test_bound_values_of_the_config_are_kept",
            "test_metadata_and_tags_of_all_configs_are_kept",
        ],
        "a subgraph that is a node calls the handlers of its own": [
            "test_a_subgraph_with_the_only_handler_is_a_run",
            "test_handler_of_a_subgraph_node_alone",
            "test_handler_of_a_subgraph_node_alone_async",
        ],
    },
    (1, 2, 12): {
        "TracePolicy": ["test_a_trace_policy_is_obeyed"],
    },
}


def not_delivered(test: str) -> str | None:
    """Why the installed LangGraph can't run a test; None if it can.

    Args:
        test: its name as pytest has it, with its parameters.
    """
    name, _, parameters = test.removesuffix("]").partition("[")
    ids = [one for one in parameters.split("-") if one not in ("sqlite", "postgres")]
    names = {name, f"{name}[{'-'.join(ids)}]"}
    for since, reasons in SINCE.items():
        for reason, tests in reasons.items():
            if since > LANGGRAPH and names & set(tests):
                return f"LangGraph {dotted(LANGGRAPH)}; since {dotted(since)}: {reason}"
    return None


def dotted(number: tuple[int, ...]) -> str:
    """A version as text."""
    return ".".join(map(str, number))
