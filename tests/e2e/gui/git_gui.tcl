# A session with git-gui: what its buttons and menus call is called, one after the other.
#
# usage: wish git_gui.tcl GIT-GUI BRANCH
#
# Stages everything and commits it, switches to BRANCH, merges the branch it came from, takes the other
# side of the conflict, commits the merge. Ends with 1, and says why, where something does not come to pass.
# With DITS_TEST_PICTURES=FOLDER in the environment it leaves pictures of the window there.

lassign $argv argv0 branch
set argv {}
set argc 0
set deadline [expr {[clock milliseconds] + 60000}]

proc give_up {why} {
	puts stderr $why
	exit 1
}

# What git-gui would show and ask.
proc bgerror {why} { give_up "$why\n$::errorInfo" }

proc wait_for {what condition} {
	while {![uplevel #0 [list expr $condition]]} {
		if {[clock milliseconds] > $::deadline} { give_up "not in time: $what" }
		after 20 [info coroutine]
		yield
	}
}

proc idle {} {
	wait_for "git-gui is idle" {$index_lock_type eq {none} && !$diff_active}
}

proc picture {name} {
	if {![info exists ::env(DITS_TEST_PICTURES)]} return
	update
	exec import -window root $::env(DITS_TEST_PICTURES)/$name.png
}

proc state_of {path} { lindex $::file_states($path) 0 }

proc commit {message} {
	set before $::HEAD
	$::ui_comm delete 1.0 end
	$::ui_comm insert end $message
	do_commit
	wait_for "the commit is seen" "\$HEAD ne {$before}"
	idle
}

proc session {branch} {
	wm geometry . 1000x680+0+0
	wait_for "the first scan" {[array size file_states] > 0}
	idle
	do_add_all
	idle
	show_diff scene01.mov $::ui_index
	idle
	$::ui_comm insert end "The second take"
	picture git-gui-staged
	commit "The second take"

	set from $::current_branch
	set switch [::checkout_op::new $branch [git rev-parse --verify $branch] refs/heads/$branch]
	$switch parent .
	$switch enable_checkout 1
	$switch run
	wait_for "the branch is switched" "\$current_branch eq {$branch}"
	idle

	# The merge dialog calls git in this way.
	catch {git merge $from}
	rescan ui_ready
	wait_for "the conflict is seen" {[lsearch -glob [lmap path [array names file_states] {state_of $path}] U*] >= 0}
	idle
	picture git-gui-conflict
	foreach path [array names ::file_states] {
		if {![string match U* [state_of $path]]} continue
		show_diff $path $::ui_workdir
		idle
		merge_resolve_one 3
		wait_for "$path is resolved" "!\[string match U* \[state_of {$path}]]"
		idle
	}
	commit "Both"
	exit 0
}

source $argv0
# Questions of the kind "are you sure".
proc ask_popup {question} { return yes }
proc error_popup {why} { give_up $why }
proc info_popup {what} { give_up $what }
proc hook_failed_popup {hook why {is_fatal 1}} { give_up "$hook: $why" }
coroutine running session $branch
